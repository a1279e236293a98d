// The kernels for avx512vnni: 16 floats a register; tiles that fill its registers.
#define NBEST_ISA avx512vnni
#define NBEST_ISA_NAME "avx512vnni"
#define NBEST_GETTER avx512vnni_kernels
#define NBEST_W 16
#define NBEST_OUTPUT_TOKENS 12
#define NBEST_CELL_TOKENS 6
#define NBEST_VNNI 1
#include "kernels_headers.hpp"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,prefer-vector-width=512")
#include "kernels_impl.hpp"
#pragma GCC pop_options
