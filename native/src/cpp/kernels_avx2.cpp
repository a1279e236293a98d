// The kernels for avx2: 8 floats a register; tiles that fill its registers.
#define NBEST_ISA avx2
#define NBEST_ISA_NAME "avx2"
#define NBEST_GETTER avx2_kernels
#define NBEST_W 8
#define NBEST_OUTPUT_TOKENS 6
#define NBEST_CELL_TOKENS 3
#define NBEST_VNNI 0
#include "kernels_headers.hpp"
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#include "kernels_impl.hpp"
#pragma GCC pop_options
