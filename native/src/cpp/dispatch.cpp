// The fastest kernel set that this CPU can run.
#include <cstring>
#include <initializer_list>

#include "kernels.hpp"

namespace nbest {

static bool runs(const char* name) {
    if (!std::strcmp(name, "portable")) return true;
#ifdef NBEST_X86
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!std::strcmp(name, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!std::strcmp(name, "avx512")) return avx512;
    if (!std::strcmp(name, "avx512vnni")) return avx512 && __builtin_cpu_supports("avx512vnni");
#endif
    return false;
}

const Kernels* kernels_by_name(const char* name) {
    if (!runs(name)) return nullptr;
#ifdef NBEST_X86
    for (const Kernels* set : {&avx512vnni_kernels(), &avx512_kernels(), &avx2_kernels()})
        if (!std::strcmp(set->name, name)) return set;
#endif
    return &portable_kernels();
}

const Kernels& best_kernels() {
    for (const char* name : {"avx512vnni", "avx512", "avx2"})
        if (const Kernels* set = kernels_by_name(name)) return *set;
    return portable_kernels();
}

}  // namespace nbest
