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

  struct Results {
    Arrays outputs; // one for each tensor output, in order
    Arrays updates; // one for each update, in order
    std::vector<Number> numbers; // one for each number output, in order
    std::optional<mx::array> fault; // as in Frame
  };

  void load_constants(executorch::runtime::BackendInitContext& context);
  void load_states(executorch::runtime::BackendInitContext& context);
  static mx::array read_initial(
      executorch::runtime::BackendInitContext& context, const State& state);

  Frame make_frame() const;
  // With a tracer, each step is evaluated where it stands, and is an event of its own.
  Results run(Frame& frame, executorch::runtime::EventTracer* tracer = nullptr) const;
  Results run_directly(
      const Arrays& tensors,
      const std::vector<Number>& numbers,
      executorch::runtime::EventTracer* tracer) const;
  Results run_compiled(const Arrays& tensors);
  const Compiled& compile_for_this_thread();

  void evaluate(Results& results, const Arrays& arranged);
  void check_states() const;
  void check_updates(const Arrays& updates) const;
  void check_fault(mx::array fault) const;

  Program program_;
  std::vector<executorch::runtime::FreeableBuffer> memory_; // what constants_ may point into
  Arrays constants_;
  Arrays scalars_;
  std::shared_ptr<Session> session_; // of the program, when it shares buffers
  std::vector<std::shared_ptr<Buffer>> states_;

  // MLX keeps what it compiled per thread, keyed by the address of the function, and forgets it
  // where the function was made: so one function for each thread, made and used on that thread.
  struct PerThread {
    std::weak_ptr<void> alive;
    Compiled function;
  };
  std::map<uint64_t, PerThread> compiled_;
};

} // namespace mlx_coverage
