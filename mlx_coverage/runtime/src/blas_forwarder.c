/* Fast matrix products for MLX on the CPU under Linux.
 *
 * libmlx calls cblas_sgemm and cblas_dgemm, and the wheel's own are the slow reference ones.
 * Loaded globally before libmlx, this library takes those calls and forwards them to the BLAS
 * inside libtorch; when that cannot be found, to the ones that libmlx would have used.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#define API __attribute__((visibility("default")))

enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };

#define FORTRAN_GEMM(T)                                                                       \
  void (*)(const char*, const char*, const int*, const int*, const int*, const T*, const T*, \
           const int*, const T*, const int*, const T*, T*, const int*)
#define CBLAS_GEMM(T)                                                                       \
  void (*)(int, int, int, int, int, int, T, const T*, int, const T*, int, T, T*, int)

typedef __typeof__((FORTRAN_GEMM(float))0) fortran_sgemm;
typedef __typeof__((FORTRAN_GEMM(double))0) fortran_dgemm;
typedef __typeof__((CBLAS_GEMM(float))0) reference_sgemm;
typedef __typeof__((CBLAS_GEMM(double))0) reference_dgemm;

static const char* torch_path;
static const char* mlx_path;
static fortran_sgemm fast_sgemm;
static fortran_dgemm fast_dgemm;
static reference_sgemm slow_sgemm;
static reference_dgemm slow_dgemm;
static long calls;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void resolve(void) {
  void* torch = torch_path ? dlopen(torch_path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (torch) {
    fast_sgemm = (fortran_sgemm)dlsym(torch, "sgemm_");
    fast_dgemm = (fortran_dgemm)dlsym(torch, "dgemm_");
  }
  if (fast_sgemm && fast_dgemm) {
    return;
  }
  fast_sgemm = NULL;
  fast_dgemm = NULL;
  void* mlx = mlx_path ? dlopen(mlx_path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (mlx) {
    slow_sgemm = (reference_sgemm)dlsym(mlx, "cblas_sgemm");
    slow_dgemm = (reference_dgemm)dlsym(mlx, "cblas_dgemm");
  }
}

/* Both paths must stay valid. Nothing is loaded yet: libtorch may be big and never needed. */
API void mlx_coverage_blas_set_paths(const char* torch, const char* mlx) {
  torch_path = torch;
  mlx_path = mlx;
}

/* Looks for the fast functions now. Returns whether they were found. */
API int mlx_coverage_blas_resolve(void) {
  pthread_once(&once, resolve);
  return fast_sgemm != NULL;
}

/* How many matrix products were forwarded to the fast functions. */
API long mlx_coverage_blas_calls(void) {
  return __atomic_load_n(&calls, __ATOMIC_RELAXED);
}

static const char* name_transpose(int transpose) {
  return transpose == NO_TRANSPOSE ? "N" : transpose == TRANSPOSE ? "T" : "C";
}

/* In row-major order, C = A B is C' = B' A' in Fortran's column-major order. */
#define FORWARD(fast, slow)                                                                    \
  pthread_once(&once, resolve);                                                                \
  if (!fast) {                                                                                 \
    if (!slow) {                                                                               \
      abort();                                                                                 \
    }                                                                                          \
    slow(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                         \
    return;                                                                                    \
  }                                                                                            \
  __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);                                             \
  if (order == ROW_MAJOR) {                                                                    \
    fast(name_transpose(tb), name_transpose(ta), &n, &m, &k, &alpha, b, &ldb, a, &lda, &beta,  \
         c, &ldc);                                                                             \
  } else {                                                                                     \
    fast(name_transpose(ta), name_transpose(tb), &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta,  \
         c, &ldc);                                                                             \
  }

API void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float* a,
                     int lda, const float* b, int ldb, float beta, float* c, int ldc) {
  FORWARD(fast_sgemm, slow_sgemm)
}

API void cblas_dgemm(int order, int ta, int tb, int m, int n, int k, double alpha,
                     const double* a, int lda, const double* b, int ldb, double beta, double* c,
                     int ldc) {
  FORWARD(fast_dgemm, slow_dgemm)
}
