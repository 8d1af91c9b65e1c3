/* The public C interface of the MLX Coverage backend for ExecuTorch.
 *
 * A host links this library with libexecutorch and libmlx, calls mlx_coverage_register() once,
 * and from then on any program delegated to "MLXCoverageBackend" loads and runs.
 *
 * Thread safety: every function may be called from any thread. Delegates may be loaded and run
 * from several threads at once; their MLX work is serialized by one process-wide lock. As with
 * any ExecuTorch method, one loaded method must not be run by two threads at the same time.
 *
 * State: the methods of one loaded program share the mutable buffers that they have in common, as
 * long as one of them stays loaded. A program that is loaded twice has two sets of them. A host
 * that loads methods with external data (.ptd) and without ExecuTorch's Module gives all methods
 * of a program one method allocator.
 *
 * Sessions: a loaded program has one value of its state for each session, and one copy of its
 * weights. A call belongs to the session that its thread uses, session 0 unless told otherwise, or
 * to the one in the load-time option "session" (an int) of its method.
 *
 * A process forked from one that runs programs gets an error from each load and call.
 */
#ifndef MLX_COVERAGE_H
#define MLX_COVERAGE_H

#include <stdint.h>

#if defined(_WIN32)
#define MLX_COVERAGE_API __declspec(dllexport)
#else
#define MLX_COVERAGE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Registers the backend; calling it again does nothing. Returns 0, or an ExecuTorch error code
 * after which mlx_coverage_last_error() says why. Refuses an MLX other than the one built for. */
MLX_COVERAGE_API int32_t mlx_coverage_register(void);

/* The last failure on this thread, one sentence; empty when there was none. */
MLX_COVERAGE_API const char* mlx_coverage_last_error(void);

/* Options: "device" (auto, cpu, gpu; only before the first program is loaded), "compile" (auto,
 * 0, 1; whether programs run under mx::compile; for those that are loaded afterwards), "zero_copy"
 * (0, 1), "profile" (0, 1; whether calls that ExecuTorch traces evaluate step by step),
 * "max_array_bytes" (no array of a program may be larger) and "cache_bytes" (how much freed memory
 * MLX keeps; 256 MiB on a GPU by default). Returns 0 or an ExecuTorch error code. */
MLX_COVERAGE_API int32_t mlx_coverage_set_option(const char* name, const char* value);

/* "cpu" or "gpu": where programs run. */
MLX_COVERAGE_API const char* mlx_coverage_device(void);

/* The MLX version compiled against, and the one loaded. */
MLX_COVERAGE_API const char* mlx_coverage_mlx_version_built(void);
MLX_COVERAGE_API const char* mlx_coverage_mlx_version_loaded(void);

/* The function table, one "name number-of-arguments" per line. */
MLX_COVERAGE_API const char* mlx_coverage_functions(void);

/* Counts since the process started: "calls", "zero_copied_inputs", "copied_inputs" or
 * "compiled_programs" (traces made by mx::compile). An unknown name gives -1. */
MLX_COVERAGE_API int64_t mlx_coverage_counter(const char* name);

/* Opens a session, in which state starts as it does in a program just loaded. Returns its number,
 * or -1. */
MLX_COVERAGE_API int64_t mlx_coverage_open_session(void);

/* Each of these returns 0 or an ExecuTorch error code. Closing a session frees its state. `use` is
 * for the calls of this thread from now on. Resetting starts the state afresh. Copying takes no
 * time and no memory: a buffer is copied by the first call, in either session, that writes to it.
 * Saving writes the state to a safetensors file, with `note`, unless null, as its metadata "note".
 * Loading one gives the session that state, for the same program, loaded now or later. */
MLX_COVERAGE_API int32_t mlx_coverage_close_session(int64_t session);
MLX_COVERAGE_API int32_t mlx_coverage_use_session(int64_t session);
MLX_COVERAGE_API int32_t mlx_coverage_reset_session(int64_t session);
MLX_COVERAGE_API int32_t mlx_coverage_copy_session(int64_t from, int64_t to);
MLX_COVERAGE_API int32_t
mlx_coverage_save_session(int64_t session, const char* path, const char* note);
MLX_COVERAGE_API int32_t mlx_coverage_load_session(int64_t session, const char* path);

/* The session that the calls of this thread use. */
MLX_COVERAGE_API int64_t mlx_coverage_current_session(void);

#ifdef __cplusplus
}
#endif

#endif /* MLX_COVERAGE_H */
