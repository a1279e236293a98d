// The kernels for any CPU: 4 floats a register; tiles that fill its registers.
#define NBEST_ISA portable
#define NBEST_ISA_NAME "portable"
#define NBEST_GETTER portable_kernels
#define NBEST_W 4
#define NBEST_OUTPUT_TOKENS 6
#define NBEST_CELL_TOKENS 3
#define NBEST_VNNI 0
#include "kernels_headers.hpp"
#include "kernels_impl.hpp"
