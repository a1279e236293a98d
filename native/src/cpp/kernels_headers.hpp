// What the kernels include, for the least of CPUs: its code may be shared by the kernels of all.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "threads.hpp"
#ifdef __linux__
#include <sys/mman.h>
#endif
#ifdef NBEST_X86
#include <immintrin.h>
#endif
