// The Python module: arrays in, arrays out; every shape and index is looked at before a kernel runs.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Vector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Shorts = nb::ndarray<const int16_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Codes = nb::ndarray<const uint16_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using WideCodes = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Vectors = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutFloats = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutVector = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutDoubles = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using namespace nbest;

static void expect(bool right, const std::string& message) {
    if (!right) throw nb::value_error(message.c_str());
}

static void expect_size(const std::string& what, size_t got, size_t expected) {
    expect(got == expected, what + ": expected " + std::to_string(expected) + ", got " + std::to_string(got));
}

static void expect_one_below(const std::string& what, int64_t number, size_t limit) {
    if (number < 0 || static_cast<size_t>(number) >= limit)
        expect(false, what + ": " + std::to_string(number) + " is not below " + std::to_string(limit));
}

static void expect_below(const std::string& what, const Ids& ids, size_t limit) {
    for (size_t i = 0; i < ids.shape(0); ++i) expect_one_below(what, ids.data()[i], limit);
}

// A matrix by rows; holds on to the caller's memory.
class Matrix {
   public:
    static Matrix float32(Floats numbers) {
        Matrix matrix(Rows::FLOAT32, numbers.data(), numbers.shape(0), numbers.shape(1), numbers.shape(1) * 4);
        matrix.floats_ = numbers;
        return matrix;
    }
    static Matrix uint8(Bytes codes, Vector step, Vector low) {
        Matrix matrix(Rows::UINT8, codes.data(), codes.shape(0), codes.shape(1), codes.shape(1));
        matrix.bytes_ = codes;
        matrix.worth(step, low);
        return matrix;
    }
    static Matrix int16(Shorts numbers, Vector step, Vector low) {
        Matrix matrix(Rows::INT16, numbers.data(), numbers.shape(0), numbers.shape(1), numbers.shape(1) * 2);
        matrix.shorts_ = numbers;
        matrix.worth(step, low);
        return matrix;
    }
    static Matrix bits(Bytes bytes, int64_t cols, Vector step, Vector low) {
        expect_size("bytes a row", bytes.shape(1), (cols + 7) / 8);
        Matrix matrix(Rows::BITS, bytes.data(), bytes.shape(0), cols, bytes.shape(1));
        matrix.bytes_ = bytes;
        matrix.worth(step, low);
        return matrix;
    }
    static Matrix slim(Codes codes, Vectors vectors) {
        Matrix matrix = of_sub_vectors(codes, vectors);
        matrix.codes_ = codes;
        return matrix;
    }
    static Matrix slim_wide(WideCodes codes, Vectors vectors) {
        Matrix matrix = of_sub_vectors(codes, vectors);
        matrix.wide_codes_ = codes;
        return matrix;
    }
    const Rows& rows() const { return rows_; }
    // Chosen rows in floats.
    void read(Ids ids, OutFloats out) const {
        expect_size("rows of out", out.shape(0), ids.shape(0));
        expect_size("columns of out", out.shape(1), rows_.cols);
        expect_below("id", ids, rows_.rows);
        nb::gil_scoped_release release;
        best_kernels().rows(rows_, ids.data(), ids.shape(0), out.data());
    }

   private:
    Matrix(Rows::Kind kind, const void* data, size_t rows, size_t cols, size_t stride)
        : rows_{} {
        rows_.kind = kind;
        rows_.data = data;
        rows_.rows = static_cast<int64_t>(rows);
        rows_.cols = static_cast<int64_t>(cols);
        rows_.stride = static_cast<int64_t>(stride);
        expect(rows > 0 && cols > 0 && cols <= 65536, "a matrix has rows, and 1 to 65,536 columns");
    }
    // codes (V, parts), vectors (parts, values, width)
    template <class Array>
    static Matrix of_sub_vectors(const Array& codes, const Vectors& vectors) {
        expect_size("codes a row", codes.shape(1), vectors.shape(0));
        const size_t parts = codes.shape(1), values = vectors.shape(1);
        expect(values > 0, "there are sub-vectors");
        for (size_t i = 0; i < codes.size(); ++i)
            expect_one_below("code", codes.data()[i], values);
        Matrix matrix(Rows::SLIM, codes.data(), codes.shape(0), parts * vectors.shape(2), parts * sizeof(codes.data()[0]));
        matrix.vectors_ = vectors;
        matrix.rows_.vectors = vectors.data();
        matrix.rows_.parts = static_cast<int64_t>(parts);
        matrix.rows_.values = static_cast<int64_t>(values);
        matrix.rows_.code_bytes = sizeof(codes.data()[0]);
        return matrix;
    }
    void worth(Vector step, Vector low) {
        rows_.one_worth = step.shape(0) == 1;
        expect_size("steps", step.shape(0), rows_.one_worth ? 1 : rows_.rows);
        expect_size("lows", low.shape(0), step.shape(0));
        step_ = step;
        low_ = low;
        rows_.step = step.data();
        rows_.low = low.data();
    }
    Rows rows_;
    std::optional<Floats> floats_;
    std::optional<Bytes> bytes_;
    std::optional<Shorts> shorts_;
    std::optional<Codes> codes_;
    std::optional<WideCodes> wide_codes_;
    std::optional<Vectors> vectors_;
    std::optional<Vector> step_, low_;
};

static const Kernels& kernels(const std::optional<std::string>& name) {
    if (!name) return best_kernels();
    const Kernels* set = kernels_by_name(name->c_str());
    expect(set != nullptr, "this CPU has no kernels " + *name);
    return *set;
}

static void expect_integers(const Kernels& set, const Rows& rows, bool wide) {
    expect(set.integers, std::string("kernels ") + set.name + " have no products of integers");
    const bool bytes = rows.kind == Rows::UINT8 || rows.kind == Rows::BITS;
    if (wide) expect(bytes || rows.kind == Rows::INT16, "16-bit products need a matrix of 16-bit numbers, bytes or bits");
    else expect(bytes, "8-bit products need a matrix of bytes or bits");
}

// The largest size of whole inputs whose products with any row add up to less than 2^31, 32,767 at most.
static int16_t most_of_inputs(const Rows& rows) {
    int64_t largest = 1;
    for (int64_t r = 0; r < rows.rows; ++r) {
        int64_t sum = rows.kind == Rows::BITS ? rows.cols : 0;
        const auto* raw = static_cast<const uint8_t*>(rows.data) + r * rows.stride;
        for (int64_t k = 0; rows.kind == Rows::UINT8 && k < rows.cols; ++k) sum += raw[k];
        const auto* shorts = reinterpret_cast<const int16_t*>(raw);
        for (int64_t k = 0; rows.kind == Rows::INT16 && k < rows.cols; ++k) sum += std::abs(static_cast<int>(shorts[k]));
        largest = std::max(largest, sum);
    }
    return static_cast<int16_t>(std::min<int64_t>(INT16_MAX, INT32_MAX / largest));
}

// An output matrix and its bias.
class Output {
   public:
    // A matrix that is a sketch of `exact` has a bias of its own.
    // `again`: share of the sum from which a row of integer products is computed again.
    // `coarse`: share of the sum below which rows do without `low`; 0: none does.
    Output(Matrix matrix, std::optional<Vector> bias, const std::string& products, std::optional<Matrix> low,
           std::optional<Matrix> exact, std::optional<Vector> sketch_bias, float again, float coarse,
           std::optional<std::string> isa)
        : matrix_(std::move(matrix)), low_(std::move(low)), exact_(std::move(exact)), bias_(std::move(bias)),
          sketch_bias_(std::move(sketch_bias)), again_(again), coarse_(coarse), set_(kernels(isa)) {
        expect(again > 0.0f, "again is a share");
        expect(coarse >= 0.0f && coarse < 1.0f, "coarse is a share");
        expect(products == "float" || products == "int8" || products == "two_bytes",
               "products: expected float, int8 or two_bytes, got " + products);
        products_ = products == "float" ? Products::FLOAT : products == "int8" ? Products::INT8 : Products::TWO_BYTES;
        if (products_ != Products::FLOAT) expect_integers(set_, matrix_.rows(), false);
        for (const auto* other : {&low_, &exact_})
            if (*other) {
                expect_size("rows of a matrix beside", (*other)->rows().rows, matrix_.rows().rows);
                if (!sketch_bias_) expect_size("columns of a matrix beside", (*other)->rows().cols, matrix_.rows().cols);
            }
        if (sketch_bias_) {
            expect(exact_.has_value() && products_ == Products::INT8, "a sketch is of an exact matrix, for 8-bit products");
            expect_size("biases of a sketch", sketch_bias_->shape(0), matrix_.rows().rows);
        }
        if (low_) {
            expect(products_ == Products::TWO_BYTES, "low bytes belong to two-byte products");
            expect(matrix_.rows().cols <= 32768, "rows of two bytes have at most 32,768 columns");  // or sums leave 32 bits
            expect(low_->rows().kind == Rows::UINT8 && matrix_.rows().kind == Rows::UINT8, "two-byte rows are two of bytes");
        }
        if (bias_) expect_size("biases", bias_->shape(0), matrix_.rows().rows);
    }
    // Beside a sketch: `sketched` (N, K) is what stands for x (N, H), `slopes` (N, K + 1) how the
    // logarithm changes with it, and what is added.
    void log_normalizers(Floats x, OutDoubles out, int threads, std::optional<Floats> sketched,
                         std::optional<Floats> slopes) const {
        expect_size("columns of x", x.shape(1), cols());
        expect_size("length of out", out.shape(0), x.shape(0));
        expect(sketched.has_value() == sketch_bias_.has_value(), "sketched inputs belong to a sketch");
        if (sketched) {
            expect_size("columns of the sketched", sketched->shape(1), matrix_.rows().cols);
            expect_size("rows of the sketched", sketched->shape(0), x.shape(0));
        }
        if (slopes) {
            expect(sketched.has_value(), "slopes belong to a sketch");
            expect_size("rows of the slopes", slopes->shape(0), sketched->shape(0));
            expect_size("columns of the slopes", slopes->shape(1), sketched->shape(1) + 1);
        }
        const NormalizerJob job{&matrix_.rows(), sketched ? sketch_bias_->data() : bias(),
                                sketched ? sketched->data() : x.data(), static_cast<int64_t>(x.shape(0)), products_, again_,
                                low_ ? &low_->rows() : nullptr, coarse_, exact_ ? &exact_->rows() : nullptr, x.data(), bias(),
                                slopes ? slopes->data() : nullptr, out.data()};
        nb::gil_scoped_release release;
        set_.normalize(job, threads);
    }
    // (V, N), of a slim matrix.
    void logits(Floats x, OutFloats out, int threads) const {
        expect(matrix_.rows().kind == Rows::SLIM, "only a slim matrix has logits that lie by words");
        expect_size("columns of x", x.shape(1), matrix_.rows().cols);
        expect_size("rows of out", out.shape(0), matrix_.rows().rows);
        expect_size("columns of out", out.shape(1), x.shape(0));
        const LogitsJob job{&matrix_.rows(), bias(), x.data(), static_cast<int64_t>(x.shape(0)), out.data()};
        nb::gil_scoped_release release;
        set_.logits(job, threads);
    }
    // Always in floats, of `exact` where there is one.
    void pairs(Floats x, Ids positions, Ids ids, OutVector out) const {
        expect_size("columns of x", x.shape(1), cols());
        expect_size("ids", ids.shape(0), positions.shape(0));
        expect_size("length of out", out.shape(0), positions.shape(0));
        expect_below("position", positions, x.shape(0));
        expect_below("id", ids, matrix_.rows().rows);
        nb::gil_scoped_release release;
        set_.pairs(exact_ ? exact_->rows() : matrix_.rows(), bias(), x.data(), positions.data(), ids.data(), ids.shape(0), out.data());
    }

   private:
    const float* bias() const { return bias_ ? bias_->data() : nullptr; }
    size_t cols() const { return (exact_ ? exact_->rows() : matrix_.rows()).cols; }
    Matrix matrix_;
    std::optional<Matrix> low_, exact_;
    std::optional<Vector> bias_, sketch_bias_;
    Products products_;
    float again_, coarse_;
    const Kernels& set_;
};

// A matrix with a scale and a bias, all of whose products are wanted.
class Linear {
   public:
    Linear(Matrix matrix, std::optional<Vector> scale, std::optional<Vector> bias, bool int16, std::optional<std::string> isa)
        : matrix_(std::move(matrix)), scale_(std::move(scale)), bias_(std::move(bias)), set_(kernels(isa)) {
        if (scale_) expect_size("scales", scale_->shape(0), matrix_.rows().rows);
        if (bias_) expect_size("biases", bias_->shape(0), matrix_.rows().rows);
        if (int16) {
            expect_integers(set_, matrix_.rows(), true);
            most_ = most_of_inputs(matrix_.rows());
            const LinearJob job = job_of(nullptr, 0, nullptr);
            panels_.resize(set_.linear_bytes(job));
            set_.prepare_linear(job, panels_.data());
        }
    }
    void products(Floats x, OutFloats out, int threads) const {
        expect_size("columns of x", x.shape(1), matrix_.rows().cols);
        expect_size("rows of out", out.shape(0), x.shape(0));
        expect_size("columns of out", out.shape(1), matrix_.rows().rows);
        const LinearJob job = job_of(x.data(), static_cast<int64_t>(x.shape(0)), out.data());
        nb::gil_scoped_release release;
        set_.linear(job, threads);
    }

   private:
    LinearJob job_of(const float* x, int64_t count, float* out) const {
        return {&matrix_.rows(), scale_ ? scale_->data() : nullptr, bias_ ? bias_->data() : nullptr, x, count, out, most_, panels_.data()};
    }
    Matrix matrix_;
    int16_t most_ = 0;
    std::optional<Vector> scale_, bias_;
    const Kernels& set_;
    std::vector<char> panels_;
};

// An LSTM layer without its first inputs' matrix, whose products come as a table.
class Cells {
   public:
    Cells(std::vector<Matrix> matrices, std::optional<Vector> scale, bool int16, bool laid_out, std::optional<std::string> isa)
        : matrices_(std::move(matrices)), scale_(std::move(scale)), set_(kernels(isa)) {
        expect(!matrices_.empty() && matrices_.size() <= CellsJob::MOST, "one or two matrices");
        const int64_t rows = matrices_[0].rows().rows;
        expect(rows % 4 == 0, "a gate matrix has 4 H rows");
        job_ = CellsJob{};
        job_.sources = static_cast<int>(matrices_.size());
        job_.cells = rows / 4;
        job_.most = int16 ? INT16_MAX : 0;
        for (size_t s = 0; s < matrices_.size(); ++s) {
            if (int16) {
                expect_integers(set_, matrices_[s].rows(), true);
                job_.most = std::min(job_.most, most_of_inputs(matrices_[s].rows()));
            }
            expect_size("rows of a gate matrix", matrices_[s].rows().rows, rows);
            job_.rows[s] = &matrices_[s].rows();
        }
        if (scale_) {
            expect_size("scales", scale_->shape(0), rows);
            job_.scale = scale_->data();
        }
        if (laid_out) {
            panels_.resize(set_.panel_bytes(job_));
            set_.prepare_cells(job_, panels_.data());
            job_.panels = panels_.data();
        }
    }
    void step(std::vector<Floats> inputs, std::vector<Ids> index, Floats table, Ids table_index, OutFloats cells,
              Ids cell_index, OutFloats hidden, Ids kept, std::optional<OutFloats> kept_hidden, int threads) const {
        CellsJob job = job_;
        const size_t count = table_index.shape(0), h = job.cells;
        expect_size("inputs", inputs.size(), matrices_.size());
        expect_size("indices", index.size(), matrices_.size());
        for (size_t s = 0; s < inputs.size(); ++s) {
            expect_size("columns of an input", inputs[s].shape(1), job.rows[s]->cols);
            expect_size("length of an index", index[s].shape(0), count);
            expect_below("index of an input", index[s], inputs[s].shape(0));
            job.inputs[s] = inputs[s].data();
            job.index[s] = index[s].data();
        }
        expect_size("columns of the table", table.shape(1), 4 * h);
        expect_below("index of the table", table_index, table.shape(0));
        expect_size("columns of the cells", cells.shape(1), h);
        expect_size("cell indices", cell_index.shape(0), count);
        expect_below("index of a cell", cell_index, cells.shape(0));
        expect_size("rows of the output", hidden.shape(0), count);
        expect_size("columns of the output", hidden.shape(1), h);
        size_t keepable = cells.shape(0);
        if (kept_hidden) {
            expect_size("columns of what is kept", kept_hidden->shape(1), h);
            keepable = std::min(keepable, kept_hidden->shape(0));
        }
        expect_size("rows to keep", kept.shape(0), count);
        for (size_t n = 0; n < count; ++n)
            expect(kept.data()[n] < static_cast<int64_t>(keepable), "a row to keep is beyond the states");
        job.table = table.data();
        job.table_index = table_index.data();
        job.cell_before = cells.data();
        job.cell_index = cell_index.data();
        job.count = static_cast<int64_t>(count);
        job.hidden = hidden.data();
        job.kept = kept.data();
        job.kept_hidden = kept_hidden ? kept_hidden->data() : nullptr;
        job.cell = cells.data();
        nb::gil_scoped_release release;
        set_.step(job, threads);
    }
    size_t laid_out_bytes() const { return panels_.size(); }

   private:
    std::vector<Matrix> matrices_;
    std::optional<Vector> scale_;
    const Kernels& set_;
    CellsJob job_;
    std::vector<char> panels_;
};

NB_MODULE(_kernels, m) {
    nb::set_leak_warnings(false);  // what threads still hold when the interpreter ends
    nb::class_<Matrix>(m, "Matrix")
        .def_static("float32", &Matrix::float32, "numbers"_a)
        .def_static("int16", &Matrix::int16, "numbers"_a, "step"_a, "low"_a)
        .def_static("uint8", &Matrix::uint8, "codes"_a, "step"_a, "low"_a)
        .def_static("slim", &Matrix::slim, "codes"_a, "vectors"_a)
        .def_static("slim", &Matrix::slim_wide, "codes"_a, "vectors"_a)
        .def_static("bits", &Matrix::bits, "bytes"_a, "cols"_a, "step"_a, "low"_a)
        .def("read", &Matrix::read, "ids"_a, "out"_a);
    nb::class_<Output>(m, "Output")
        .def(nb::init<Matrix, std::optional<Vector>, const std::string&, std::optional<Matrix>, std::optional<Matrix>,
                      std::optional<Vector>, float, float, std::optional<std::string>>(),
             "matrix"_a, "bias"_a.none() = nb::none(), "products"_a = "float", "low"_a.none() = nb::none(),
             "exact"_a.none() = nb::none(), "sketch_bias"_a.none() = nb::none(), "again"_a = 0.01f, "coarse"_a = 0.0f,
             "isa"_a.none() = nb::none())
        .def("log_normalizers", &Output::log_normalizers, "x"_a, "out"_a, "threads"_a = 1,
             "sketched"_a.none() = nb::none(), "slopes"_a.none() = nb::none())
        .def("logits", &Output::logits, "x"_a, "out"_a, "threads"_a = 1)
        .def("pairs", &Output::pairs, "x"_a, "positions"_a, "ids"_a, "out"_a);
    nb::class_<Linear>(m, "Linear")
        .def(nb::init<Matrix, std::optional<Vector>, std::optional<Vector>, bool, std::optional<std::string>>(), "matrix"_a,
             "scale"_a.none() = nb::none(), "bias"_a.none() = nb::none(), "int16"_a = false, "isa"_a.none() = nb::none())
        .def("products", &Linear::products, "x"_a, "out"_a, "threads"_a = 1);
    nb::class_<Cells>(m, "Cells")
        .def(nb::init<std::vector<Matrix>, std::optional<Vector>, bool, bool, std::optional<std::string>>(), "matrices"_a,
             "scale"_a.none() = nb::none(), "int16"_a = false, "laid_out"_a = true, "isa"_a.none() = nb::none())
        .def("step", &Cells::step, "inputs"_a, "index"_a, "table"_a, "table_index"_a, "cells"_a, "cell_index"_a,
             "hidden"_a, "kept"_a, "kept_hidden"_a.none(), "threads"_a = 1)
        .def_prop_ro("laid_out_bytes", &Cells::laid_out_bytes);
    m.def("isas", [] {
        std::vector<std::string> found;
        for (const char* name : {"avx512vnni", "avx512", "avx2", "portable"})
            if (kernels_by_name(name)) found.push_back(name);
        return found;
    });
    m.def("has_int8", [](std::optional<std::string> isa) { return kernels(isa).integers; }, "isa"_a.none() = nb::none());
}
