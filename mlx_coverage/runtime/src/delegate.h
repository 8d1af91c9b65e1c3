// One loaded program: its constants, its state between calls, and how it runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <executorch/runtime/backend/interface.h>
#include <mlx/mlx.h>

#include "arguments.h"
#include "fusion.h"
#include "program.h"
#include "session.h"

namespace mlx_coverage {

class Delegate {
 public:
  // Reads the payload and binds constants and initial states; throws Failure.
  Delegate(executorch::runtime::BackendInitContext& context, const void* payload, size_t size);

  // Runs once. After an exception the state is what it was before the call, or each delegate that
  // holds what was to be replaced refuses every further call.
  // With a tracer, the call's parts are events of ExecuTorch's ETDump.
  void execute(
      executorch::runtime::Span<executorch::runtime::EValue*> arguments,
      executorch::runtime::EventTracer* tracer = nullptr);

 private:
  using Arrays = std::vector<mx::array>;
  using Compiled = std::function<Arrays(const Arrays&)>;

  // MLX keeps what it compiled per thread, keyed by the address of the function, and forgets it
  // where the function was made: so one function for each thread, made and used on that thread.
  struct PerThread {
    std::weak_ptr<void> alive;
    Compiled whole;
    std::vector<Compiled> groups;
  };

  struct Results {
    Arrays outputs; // one for each tensor output, in order
    Arrays updates; // one for each update, in order
    std::vector<Number> numbers; // one for each number output, in order
    std::optional<mx::array> fault; // as in Frame
  };

  void load_constants(executorch::runtime::BackendInitContext& context);
  void load_states(executorch::runtime::BackendInitContext& context, uint64_t program);
  static std::optional<mx::array> read_initial(
      executorch::runtime::BackendInitContext& context,
      const State& state);

  Frame make_frame();
  static void run_step(const Step& step, Frame& frame);
  void run_group(const Group& group, Frame& frame);
  // With a tracer, each step is evaluated where it stands, and is an event of its own.
  Results run(Frame& frame, executorch::runtime::EventTracer* tracer = nullptr);
  Results run_directly(
      const Arrays& tensors,
      const std::vector<Number>& numbers,
      executorch::runtime::EventTracer* tracer);
  Results run_compiled(const Arrays& tensors);
  const PerThread& compile_for_this_thread();
  Compiled compile_group(const Group& group);

  void evaluate(Results& results, const Arrays& arranged);
  void find_states();
  void check_updates(const Arrays& updates) const;
  void check_fault(mx::array fault) const;

  Program program_;
  std::vector<executorch::runtime::FreeableBuffer> memory_; // what constants_ may point into
  Arrays constants_;
  NarrowConstants narrow_;
  Arrays scalars_;
  std::shared_ptr<SharedBuffers> shared_; // of the program, when it shares buffers
  std::vector<std::shared_ptr<Buffer>> buffers_;
  std::optional<SessionNumber> session_; // of each call; that of the calling thread without one
  std::vector<Value*> states_; // of the buffers, in the session of the call

  bool is_whole_ = false; // runs under mx::compile as it is; else its groups do
  std::vector<Group> groups_;
  std::map<uint64_t, PerThread> compiled_;
};

} // namespace mlx_coverage
