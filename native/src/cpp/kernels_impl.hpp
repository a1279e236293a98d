// The kernels, written once and compiled for each kind of CPU. A tile of products stays in registers, and what
// follows a product (exp and sum; gates and cell) is done there: no logit is ever written to memory.
//
// Included after kernels_headers.hpp by one file for each kind of CPU.
#include "kernels.hpp"

namespace nbest {
namespace NBEST_ISA {

#include "impl/vectors.hpp"
#include "impl/sharing.hpp"
#include "impl/inputs.hpp"
#include "impl/panels.hpp"
#include "impl/products.hpp"
#include "impl/pairs.hpp"
#include "impl/linear.hpp"
#include "impl/normalizer.hpp"
#include "impl/slim.hpp"
#include "impl/cells.hpp"

}  // namespace NBEST_ISA

const Kernels& NBEST_GETTER() {
    static const Kernels kernels{NBEST_ISA_NAME,         NBEST_VNNI != 0, NBEST_ISA::normalize_any,
                                 NBEST_ISA::slim_logits, NBEST_ISA::step, NBEST_ISA::panel_bytes,
                                 NBEST_ISA::prepare_cells, NBEST_ISA::pairs,
                                 NBEST_ISA::linear_bytes, NBEST_ISA::prepare_linear, NBEST_ISA::linear,
                                 NBEST_ISA::rows_as_floats};
    return kernels;
}

}  // namespace nbest
