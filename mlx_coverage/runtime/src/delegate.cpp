#include "delegate.h"

#include <atomic>
#include <mutex>
#include <string_view>

#include <executorch/runtime/core/event_tracer_hooks_delegate.h>

#include "bounds.h"
#include "failure.h"
#include "functions.h"
#include "payload.h"
#include "process.h"
#include "tensors.h"

namespace mlx_coverage {

namespace {

namespace et = executorch::runtime;

// The load-time option that binds a method to a session.
constexpr const char* kSessionOption = "session";

using executorch::runtime::BackendInitContext;
using executorch::runtime::EValue;
using executorch::runtime::FreeableBuffer;
using executorch::runtime::Span;

// Identifies a thread for as long as it lives; unlike its id, never used again for another.
struct ThreadToken {
  uint64_t number;
  std::shared_ptr<void> alive;
};

const ThreadToken& this_thread_token() {
  static std::atomic<uint64_t> next{0};
  static thread_local const ThreadToken token{next++, std::make_shared<char>()};
  return token;
}

FreeableBuffer find_data(BackendInitContext& context, const std::string& key, size_t bytes) {
  const auto* map = context.get_named_data_map();
  if (map == nullptr) {
    fail(Error::InvalidExternalData, "[", key, "] expected named data, the program has none.");
  }
  auto found = map->get_data(key);
  if (!found.ok()) {
    fail(found.error(), "[", key, "] is not in the program's named data.");
  }
  if (found->size() != bytes) {
    fail(
        Error::InvalidExternalData, "[", key, "] expected ", bytes, " bytes of named data, came ",
        found->size(), ".");
  }
  return std::move(found.get());
}

// FNV-1a: names the program in saved sessions, and guards nothing.
uint64_t hash_bytes(const uint8_t* bytes, size_t size) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ bytes[i]) * 0x100000001b3;
  }
  return hash;
}

// ETDump asks for a name, or for a number other than this one.
constexpr auto kNoNumber = et::kUnsetDelegateDebugIntId;

et::EventTracerEntry start_event(et::EventTracer* tracer, const std::string& name) {
  return et::event_tracer_start_profiling_delegate(tracer, name.c_str(), kNoNumber);
}

void end_event(et::EventTracer* tracer, et::EventTracerEntry event) {
  et::event_tracer_end_profiling_delegate(tracer, event);
}

void evaluate_step(const Frame& frame, const Step& step) {
  if (step.function->is_host()) {
    return;
  }
  std::vector<mx::array> results;
  for (const uint32_t slot : step.results) {
    results.push_back(*frame.arrays[slot]);
  }
  mx::eval(std::move(results));
}

mx::Shape to_shape(const TensorType& type) {
  return mx::Shape(type.dims.begin(), type.dims.end());
}

void store(Frame& frame, const Step& step, Number number) {
  frame.numbers[step.results[0]] = number;
}

void store(Frame& frame, const Step& step, std::vector<mx::array> arrays) {
  if (arrays.size() != step.results.size()) {
    fail(
        Error::InvalidProgram, "[", step.function->name, "] expected ", step.results.size(),
        " results, came ", arrays.size(), ".");
  }
  check_memory(step, frame, arrays.data(), arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    frame.arrays[step.results[i]] = std::move(arrays[i]);
  }
}

void store(Frame& frame, const Step& step, mx::array array) {
  if (step.results.size() != 1) {
    fail(
        Error::InvalidProgram, "[", step.function->name, "] expected ", step.results.size(),
        " results, came 1.");
  }
  check_memory(step, frame, &array, 1);
  frame.arrays[step.results[0]] = std::move(array);
}

Number read_number(const EValue& value, Kind kind, size_t index) {
  if (kind == Kind::integer && value.isInt()) {
    return Number::of(value.toInt());
  }
  if (kind == Kind::real && value.isDouble()) {
    return Number::of(value.toDouble());
  }
  if (kind == Kind::boolean && value.isBool()) {
    return Number::of(int64_t{value.toBool()});
  }
  constexpr const char* names[] = {"a tensor", "an int", "a float", "a bool"};
  fail(
      Error::InvalidArgument, "[input ", index, "] expected ", names[static_cast<int>(kind)],
      ", came ExecuTorch tag ", static_cast<int>(value.tag), ".");
}

EValue make_value(Number number, Kind kind, size_t index) {
  if (kind == Kind::real) {
    return EValue(number.as_real());
  }
  if (kind == Kind::boolean) {
    return EValue(number.as_real() != 0);
  }
  if (number.is_real) {
    fail(Error::InvalidProgram, "[output ", index, "] expected an int, came ", number.real, ".");
  }
  return EValue(number.integer);
}

// MLX opens most of its sentences with the function's name, but not all.
[[noreturn]] void explain(const Function& function, const std::exception& error) {
  const std::string_view sentence = error.what();
  if (!sentence.empty() && sentence.front() == '[') {
    fail(Error::InvalidArgument, sentence);
  }
  fail(Error::InvalidArgument, "[", function.name, "] ", sentence);
}

void release(const Step& step, Frame& frame) {
  for (const uint32_t slot : step.released) {
    frame.arrays[slot].reset();
  }
}

// Memory that is nobody else's: state outlives the caller's tensors and the mapped weights.
mx::array detach(const mx::array& array, mx::Stream s) {
  if (owns_memory(array)) {
    return array;
  }
  auto whole = mx::contiguous(array, /* allow_col_major= */ false, s);
  whole.eval();
  return owns_memory(whole) ? whole : own_memory(whole.data<char>(), whole.shape(), whole.dtype());
}

} // namespace

Delegate::Delegate(BackendInitContext& context, const void* payload, size_t size)
    : program_(read_program(static_cast<const uint8_t*>(payload), size)) {
  Process& process = Process::get();
  process.refuse_fork();
  process.stream(); // from here on the device is settled
  std::lock_guard lock(process.work);
  for (const auto& scalar : program_.scalars) {
    scalars_.push_back(make_scalar(scalar));
  }
  load_constants(context);
  load_states(context, hash_bytes(static_cast<const uint8_t*>(payload), size));
  is_whole_ = process.compiles() && program_.is_pure();
  if (process.compiles() && !is_whole_) {
    groups_ = group_elementwise(program_);
  }
}

void Delegate::load_constants(BackendInitContext& context) {
  for (const auto& constant : program_.constants) {
    narrow_[constant.slot];
    const mx::Dtype dtype = to_mlx_dtype(constant.type.dtype);
    const size_t bytes = constant.type.bytes();
    if (bytes == 0) {
      constants_.push_back(own_memory(nullptr, to_shape(constant.type), dtype));
      continue;
    }
    FreeableBuffer data = find_data(context, constant.key, bytes);
    constants_.push_back(wrap_memory(data.data(), to_shape(constant.type), dtype));
    if (!owns_memory(constants_.back())) {
      memory_.push_back(std::move(data));
    }
  }
}

void Delegate::load_states(BackendInitContext& context, uint64_t program) {
  const auto session = context.get_runtime_spec<int>(kSessionOption);
  if (session.ok()) {
    Sessions::check(*session);
    session_ = *session;
  } else if (session.error() != Error::NotFound) {
    fail(Error::InvalidArgument, "[load] the option '", kSessionOption, "' is no int.");
  }
  for (size_t i = 0; i < program_.states.size(); ++i) {
    const State& state = program_.states[i];
    const auto initialize = [&] { return read_initial(context, state); };
    if (!state.name) {
      const std::string key = "delegate " + std::to_string(program) + "/" + std::to_string(i);
      buffers_.push_back(std::make_shared<Buffer>(key, state.type, initialize()));
      continue;
    }
    if (!shared_) {
      shared_ = SharedBuffers::find(context);
    }
    buffers_.push_back(shared_->find_buffer(state, initialize));
  }
}

// Nothing for zeros, which each session makes for itself.
std::optional<mx::array> Delegate::read_initial(BackendInitContext& context, const State& state) {
  const size_t bytes = state.type.bytes();
  if (!state.key || bytes == 0) {
    return std::nullopt;
  }
  const FreeableBuffer data = find_data(context, *state.key, bytes);
  return own_memory(data.data(), to_shape(state.type), to_mlx_dtype(state.type.dtype));
}

void Delegate::execute(Span<EValue*> arguments, et::EventTracer* tracer) {
  Process& process = Process::get();
  process.refuse_fork();
  const size_t expected = program_.inputs.size() + program_.outputs.size();
  if (arguments.size() != expected) {
    fail(
        Error::InvalidArgument, "[execute] expected ", expected, " arguments, came ",
        arguments.size(), ".");
  }
  std::lock_guard lock(process.work);
  find_states();
  const mx::Stream s = process.stream();

  Arrays tensors;
  std::vector<Number> numbers;
  for (size_t i = 0; i < program_.inputs.size(); ++i) {
    const Input& input = program_.inputs[i];
    const EValue& value = *arguments[i];
    if (input.kind != Kind::tensor) {
      numbers.push_back(read_number(value, input.kind, i));
    } else if (value.isTensor()) {
      tensors.push_back(read_tensor(value.toTensor(), input.type, i, s));
    } else {
      fail(
          Error::InvalidArgument, "[input ", i, "] expected a tensor, came ExecuTorch tag ",
          static_cast<int>(value.tag), ".");
    }
  }

  et::EventTracer* const steps = process.profiles() ? tracer : nullptr;
  const bool compiles = is_whole_ && steps == nullptr;
  const auto building = start_event(steps == nullptr ? tracer : nullptr, "build the graph");
  Results results = compiles ? run_compiled(tensors) : run_directly(tensors, numbers, steps);
  end_event(steps == nullptr ? tracer : nullptr, building);
  check_updates(results.updates);

  const auto outputs = arguments.begin() + program_.inputs.size();
  Arrays arranged;
  std::vector<EValue> values;
  for (size_t i = 0, tensor = 0; i < program_.outputs.size(); ++i) {
    if (program_.outputs[i].kind != Kind::tensor) {
      values.push_back(make_value(results.numbers[values.size()], program_.outputs[i].kind, i));
      continue;
    }
    if (!outputs[i]->isTensor()) {
      fail(Error::InvalidArgument, "[output ", i, "] expected a tensor to write to.");
    }
    const mx::array& output = results.outputs[tensor++];
    if (output.dtype() != to_mlx_dtype(program_.outputs[i].dtype)) {
      fail(
          Error::InvalidProgram, "[output ", i, "] expected ",
          to_mlx_dtype(program_.outputs[i].dtype), ", came ", output.dtype(), ".");
    }
    expect_memory("output " + std::to_string(i), output);
    arranged.push_back(prepare_output(outputs[i]->toTensor(), output, i, s));
  }
  // From here on the graph alone holds the inputs, so that MLX may reuse their buffers.
  results.outputs.clear();
  tensors.clear();
  const auto evaluation = start_event(tracer, "evaluate");
  evaluate(results, arranged);
  end_event(tracer, evaluation);

  for (size_t i = 0, tensor = 0, value = 0; i < program_.outputs.size(); ++i) {
    if (program_.outputs[i].kind == Kind::tensor) {
      write_output(outputs[i]->toTensor(), arranged[tensor++]);
    } else {
      *outputs[i] = values[value++];
    }
  }
  ++process.counters.calls;
}

void Delegate::evaluate(Results& results, const Arrays& arranged) {
  Arrays wanted = arranged;
  wanted.insert(wanted.end(), results.updates.begin(), results.updates.end());
  if (results.fault) {
    if (results.updates.empty()) {
      wanted.push_back(*results.fault);
    } else {
      check_fault(*results.fault); // while the state is what it was
    }
  }
  // An updated state gives up its buffer to its new value: from here on there is no way back.
  for (const auto& update : program_.updates) {
    states_[update.state]->array.reset();
  }
  mx::eval(std::move(wanted));
  for (size_t i = 0; i < program_.updates.size(); ++i) {
    states_[program_.updates[i].state]->array = detach(results.updates[i], Process::get().stream());
  }
  if (results.fault && results.updates.empty()) {
    check_fault(*results.fault);
  }
}

void Delegate::check_fault(mx::array fault) const {
  const auto number = fault.item<int32_t>();
  if (number > 0) {
    refuse_values(*program_.steps[static_cast<size_t>(number) - 1].function);
  }
}

void Delegate::find_states() {
  const SessionNumber session = session_.value_or(Sessions::current());
  Sessions::check(session);
  states_.clear();
  for (const auto& buffer : buffers_) {
    states_.push_back(&buffer->in(session));
    if (!states_.back()->array) {
      fail(
          Error::InvalidState,
          "[execute] an earlier call failed while its state was being "
          "updated: load again, or reset the session.");
    }
  }
}

void Delegate::check_updates(const Arrays& updates) const {
  for (size_t i = 0; i < updates.size(); ++i) {
    const TensorType& type = program_.states[program_.updates[i].state].type;
    if (updates[i].shape() != to_shape(type) || updates[i].dtype() != to_mlx_dtype(type.dtype)) {
      fail(
          Error::InvalidProgram, "[state ", program_.updates[i].state, "] expected ",
          to_shape(type), " ", to_mlx_dtype(type.dtype), ", came ", updates[i].shape(), " ",
          updates[i].dtype(), ".");
    }
  }
}

Frame Delegate::make_frame() {
  Frame frame{{}, {}, scalars_, Process::get().stream(), narrow_};
  frame.arrays.resize(program_.array_slots);
  frame.numbers.resize(program_.number_slots);
  for (size_t i = 0; i < constants_.size(); ++i) {
    frame.arrays[program_.constants[i].slot] = constants_[i];
  }
  return frame;
}

void Delegate::run_step(const Step& step, Frame& frame) {
  Call call(step, frame);
  ++frame.step;
  try {
    if (step.function->cpu_only != nullptr && !call.on_cpu() && step.function->cpu_only(call)) {
      call.move_to(Process::get().cpu_stream());
    }
    std::visit([&](auto function) { store(frame, step, function(call)); }, step.function->run);
  } catch (const Failure&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    explain(*step.function, error);
  }
}

void Delegate::run_group(const Group& group, Frame& frame) {
  Arrays inputs;
  for (const uint32_t slot : group.inputs) {
    inputs.push_back(*frame.arrays[slot]);
  }
  const size_t number = static_cast<size_t>(&group - groups_.data());
  frame.arrays[group.result] = compile_for_this_thread().groups[number](inputs)[0];
  frame.step += group.last - group.first;
}

Delegate::Results Delegate::run(Frame& frame, et::EventTracer* tracer) {
  auto group = groups_.begin();
  for (size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    if (tracer != nullptr) {
      // The name is that of the debug map that lowering hands to ExecuTorch.
      const auto event =
          start_event(tracer, std::to_string(frame.step) + " " + step.function->name);
      run_step(step, frame);
      evaluate_step(frame, step);
      end_event(tracer, event);
    } else if (group != groups_.end() && group->first == i) {
      run_group(*group, frame);
      for (; i + 1 < group->last; ++i) {
        release(program_.steps[i], frame);
      }
      ++group;
    } else {
      run_step(step, frame);
    }
    release(program_.steps[i], frame);
  }
  Results results;
  for (const auto& output : program_.outputs) {
    if (output.kind == Kind::tensor) {
      results.outputs.push_back(*frame.arrays[output.slot]);
    } else {
      results.numbers.push_back(frame.numbers[output.slot]);
    }
  }
  for (const auto& update : program_.updates) {
    results.updates.push_back(*frame.arrays[update.slot]);
  }
  results.fault = frame.fault;
  return results;
}

Delegate::Results Delegate::run_directly(
    const Arrays& tensors,
    const std::vector<Number>& numbers,
    et::EventTracer* tracer) {
  Frame frame = make_frame();
  size_t tensor = 0;
  size_t number = 0;
  for (const auto& input : program_.inputs) {
    if (input.kind == Kind::tensor) {
      frame.arrays[input.slot] = tensors[tensor++];
    } else {
      frame.numbers[input.slot] = numbers[number++];
    }
  }
  for (size_t i = 0; i < states_.size(); ++i) {
    frame.arrays[program_.states[i].slot] = states_[i]->array;
  }
  return run(frame, tracer);
}

Delegate::Results Delegate::run_compiled(const Arrays& tensors) {
  Arrays inputs = tensors;
  for (const auto& state : states_) {
    inputs.push_back(*state->array);
  }
  Results results;
  results.outputs = compile_for_this_thread().whole(inputs);
  if (results.outputs.size() > program_.outputs.size() + program_.updates.size()) {
    results.fault = results.outputs.back();
    results.outputs.pop_back();
  }
  const auto first_update = results.outputs.end() - program_.updates.size();
  results.updates.assign(first_update, results.outputs.end());
  results.outputs.erase(first_update, results.outputs.end());
  return results;
}

const Delegate::PerThread& Delegate::compile_for_this_thread() {
  const ThreadToken& token = this_thread_token();
  if (const auto found = compiled_.find(token.number); found != compiled_.end()) {
    return found->second;
  }
  std::erase_if(compiled_, [](const auto& entry) { return entry.second.alive.expired(); });
  const Compiled program = [this](const Arrays& inputs) {
    ++Process::get().counters.compiled_programs;
    Frame frame = make_frame();
    size_t next = 0;
    for (const auto& input : program_.inputs) {
      frame.arrays[input.slot] = inputs[next++];
    }
    for (const auto& state : program_.states) {
      frame.arrays[state.slot] = inputs[next++];
    }
    Results results = run(frame);
    Arrays all = std::move(results.outputs);
    all.insert(all.end(), results.updates.begin(), results.updates.end());
    if (results.fault) {
      all.push_back(*results.fault);
    }
    return all;
  };
  PerThread made{token.alive, mx::compile(program), {}};
  for (const auto& group : groups_) {
    made.groups.push_back(compile_group(group));
  }
  return compiled_.emplace(token.number, std::move(made)).first->second;
}

Delegate::Compiled Delegate::compile_group(const Group& group) {
  const Compiled run = [this, &group](const Arrays& inputs) {
    ++Process::get().counters.compiled_programs;
    Frame frame = make_frame();
    for (size_t i = 0; i < inputs.size(); ++i) {
      frame.arrays[group.inputs[i]] = inputs[i];
    }
    for (size_t i = group.first; i < group.last; ++i) {
      run_step(program_.steps[i], frame);
    }
    return Arrays{*frame.arrays[group.result]};
  };
  return mx::compile(run);
}

} // namespace mlx_coverage
