// The kernels for avx512: 16 floats a register; tiles that fill its registers.
#define NBEST_ISA avx512
#define NBEST_ISA_NAME "avx512"
#define NBEST_GETTER avx512_kernels
#define NBEST_W 16
#define NBEST_OUTPUT_TOKENS 12
#define NBEST_CELL_TOKENS 6
#define NBEST_VNNI 0
#include "kernels_headers.hpp"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")
#include "kernels_impl.hpp"
#pragma GCC pop_options
