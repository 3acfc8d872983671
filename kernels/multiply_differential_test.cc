// Random groups of products, computed on every instruction set and compared bit for bit with the scalar one; where they
// have an activation or a soft cap, which vectors compute otherwise, also with that by vectors, within its tolerance.
#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "kernels/differential_test_util.h"
#include "kernels/kernel_test_util.h"
#include "kernels/matrix.h"
#include "kernels/packed_type.h"
#include "kernels/rows.h"

namespace linnet::kernels {
namespace {

using testing::Draw;
using testing::FillQuants;
using testing::ForEachDraw;
using testing::RandomWeights;
using testing::ScopedIsa;

constexpr ActivationKind kActivations[] = {ActivationKind::kSilu,     ActivationKind::kGelu,
                                           ActivationKind::kGeluTanh, ActivationKind::kGeluQuick,
                                           ActivationKind::kRelu,     ActivationKind::kReluSquared};
constexpr int64_t kMostProducts = 3, kMostTokens = 80, kMostOutputs = 200, kMostGroups = 64, kMostGap = 5;
constexpr float kSoftCap = 30;

// As GGUF stores them.
PackedType DrawType(Draw& draw) {
  if (draw.OneIn(4)) return testing::kDenseTypes[draw.Below(std::ssize(testing::kDenseTypes))];
  return testing::kPackedTypes[draw.Below(std::ssize(testing::kPackedTypes))];
}

std::vector<uint8_t> DrawWeights(PackedType type, int64_t rows, int64_t cols, Draw& draw) {
  auto bytes = RandomWeights(type, rows, cols, draw.random());
  if (IsGroupQuantized(type.type) && draw.OneIn(4)) {
    FillQuants(type.type, static_cast<uint8_t>(draw.OneIn(2) ? 0xFF * draw.Below(2) : draw.Below(256)), bytes);
  }
  return bytes;
}

// Of the usual size, all of one size (8-bit activations as large as they get), or of sizes far apart with zeros.
std::vector<float> DrawInputs(int64_t count, Draw& draw) {
  auto x = draw.Floats(count);
  const int64_t kind = draw.Below(4);
  for (float& v : x) {
    if (kind == 1) v = 1.0f;
    if (kind == 2) v = std::copysign(1.0f, v);
    if (kind == 3) v = draw.OneIn(2) ? 0.0f : std::ldexp(v, static_cast<int>(draw.Below(40)) - 20);
  }
  return x;
}

struct DrawnMatrix {
  PackedType type = DType::kQ4_0;
  std::vector<uint8_t> bytes;

  std::unique_ptr<Matrix> Create(int64_t rows, int64_t cols, ThreadPool& pool) const {
    auto matrix = Matrix::Create({.type = type.type,
                                  .rows = rows,
                                  .cols = cols,
                                  .data = reinterpret_cast<const std::byte*>(bytes.data()),
                                  .shared = type.shared},
                                 Precision::kFast, pool);
    EXPECT_TRUE(matrix.ok()) << matrix.status();
    return *std::move(matrix);
  }
};

struct DrawnProduct {
  int64_t outputs, stride;
  DrawnMatrix weights, gate;
  std::vector<float> bias, gate_bias;  // [outputs]
  std::vector<float> residual;         // [tokens, stride]
  ActivationKind activation;
  bool has_bias, has_gate, has_gate_bias, has_residual, in_place, capped;
};

// A group of products of the same rows of x.
class DrawnGroup {
 public:
  explicit DrawnGroup(Draw draw)
      : tokens_(draw.Size(kMostTokens)),
        threads_(static_cast<int>(1 + draw.Below(3))),
        products_(draw.Size(kMostProducts)) {
    cols_ = 32 * draw.Size(kMostGroups);
    int64_t most_block = 1;
    for (DrawnProduct& p : products_) {
      p.weights.type = DrawType(draw);
      p.gate.type = DrawType(draw);
      const int64_t block = std::max(Info(p.weights.type.type).block_elements, Info(p.gate.type.type).block_elements);
      most_block = std::max(most_block, block);
      cols_ = (cols_ + block - 1) / block * block;
    }
    if (most_block == 1) cols_ -= draw.Below(32);
    x_ = DrawInputs(tokens_ * cols_, draw);
    for (DrawnProduct& p : products_) {
      p.outputs = draw.Size(kMostOutputs);
      p.stride = p.outputs + draw.Below(kMostGap + 1);
      p.weights.bytes = DrawWeights(p.weights.type, p.outputs, cols_, draw);
      p.gate.bytes = DrawWeights(p.gate.type, p.outputs, cols_, draw);
      p.bias = draw.Floats(p.outputs);
      p.residual = draw.Floats(tokens_ * p.stride);
      p.has_bias = draw.OneIn(2);
      p.gate_bias = draw.Floats(p.outputs);
      p.has_gate = draw.OneIn(3);
      p.has_gate_bias = p.has_gate && draw.OneIn(2);
      p.activation =
          p.has_gate || draw.OneIn(4) ? kActivations[draw.Below(std::ssize(kActivations))] : ActivationKind::kNone;
      p.capped = !p.has_gate && draw.OneIn(4);
      p.has_residual = p.activation == ActivationKind::kNone && !p.capped && draw.OneIn(2);
      p.in_place = p.has_residual && draw.OneIn(2);
    }
  }

  // The outputs of each product, [tokens, stride], what lies between rows included. `reference`: activations and soft
  // caps by plain loops, which give the same bits on every ISA.
  std::vector<std::vector<float>> Multiplied(Isa isa, bool reference) const {
    const ScopedIsa scoped(isa);
    ThreadPool pool(threads_);
    std::vector<std::unique_ptr<Matrix>> matrices;
    std::vector<std::vector<float>> y;
    std::vector<Product> products;
    for (const DrawnProduct& p : products_) {
      y.push_back(p.in_place ? p.residual : std::vector<float>(p.residual.size(), -1.0f));
      Product product = {
          .y = y.back().data(), .y_stride = p.stride, .activation = p.activation, .reference = reference};
      product.weights = matrices.emplace_back(p.weights.Create(p.outputs, cols_, pool)).get();
      if (p.has_gate) product.gate = matrices.emplace_back(p.gate.Create(p.outputs, cols_, pool)).get();
      if (p.has_gate_bias) product.gate_bias = p.gate_bias.data();
      if (p.capped) product.softcap = kSoftCap;
      if (p.has_bias) product.bias = p.bias.data();
      if (p.has_residual) product.residual = p.in_place ? product.y : p.residual.data();
      products.push_back(product);
    }
    Activations activations;
    activations.Set(x_.data(), tokens_, cols_);
    Multiply(products, activations, pool);
    return y;
  }

  void ExpectSameBits(Isa isa, const std::vector<std::vector<float>>& expected) const {
    const auto got = Multiplied(isa, true);
    for (size_t i = 0; i < products_.size(); ++i) {
      const auto same = [](float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); };
      const auto [e, g] = std::mismatch(expected[i].begin(), expected[i].end(), got[i].begin(), same);
      if (e != expected[i].end()) Fail(isa, i, *g, *e, e - expected[i].begin());
    }
  }

  // Vectors' exponentials are as near to the plain loops' as kernels/rows.h says of each of them.
  void ExpectActivatedNearly(Isa isa, const std::vector<std::vector<float>>& expected) const {
    if (std::none_of(products_.begin(), products_.end(), HasEpilogue)) return;
    const auto got = Multiplied(isa, false);
    for (size_t i = 0; i < products_.size(); ++i) {
      const DrawnProduct& p = products_[i];
      if (!HasEpilogue(p)) continue;
      const bool is_gelu = p.activation == ActivationKind::kGelu || p.activation == ActivationKind::kGeluTanh;
      const auto [z, up] = Inner(p);
      for (int64_t row = 0; row < tokens_; ++row) {
        for (int64_t o = 0; o < p.outputs; ++o) {
          const auto at = static_cast<size_t>(row * p.stride + o), inner = static_cast<size_t>(row * p.outputs + o);
          const double magnitude = std::abs(double{up[inner]}), e = expected[i][at];
          double activated = ActivatedSize(p.activation, z[inner]) * 4e-6;
          if (is_gelu) activated += std::min(1.0, std::abs(double{z[inner]})) * 2e-6;
          const double tolerance = activated * magnitude + (p.capped ? 6e-7 * kSoftCap : 0) + 1e-30;
          if (!(std::abs(got[i][at] - e) <= tolerance)) {
            return Fail(isa, i, got[i][at], expected[i][at], static_cast<int64_t>(at));
          }
        }
      }
    }
  }

 private:
  static bool HasEpilogue(const DrawnProduct& p) { return p.activation != ActivationKind::kNone || p.capped; }

  static double ActivatedSize(ActivationKind kind, float z) {
    Activate(kind, &z, 1, /*reference=*/true);
    return std::abs(double{z});
  }

  // What a product is before its activation, and what that is multiplied by; [tokens, outputs].
  std::pair<std::vector<float>, std::vector<float>> Inner(const DrawnProduct& p) const {
    const ScopedIsa scoped(SupportedIsas().back());
    ThreadPool pool(1);
    std::vector<float> z(static_cast<size_t>(tokens_ * p.outputs)), up(z.size(), 1.0f);
    const auto weights = p.weights.Create(p.outputs, cols_, pool);
    const auto gate = p.has_gate ? p.gate.Create(p.outputs, cols_, pool) : nullptr;
    const float* const bias = p.has_bias ? p.bias.data() : nullptr;
    const Product plain[] = {
        {.weights = weights.get(), .y = p.has_gate ? up.data() : z.data(), .bias = bias},
        {.weights = gate.get(), .y = z.data(), .bias = p.has_gate_bias ? p.gate_bias.data() : nullptr}};
    Activations activations;
    activations.Set(x_.data(), tokens_, cols_);
    Multiply(std::span(plain).first(p.has_gate ? 2 : 1), activations, pool);
    return {std::move(z), std::move(up)};
  }

  void Fail(Isa isa, size_t i, float got, float expected, int64_t at) const {
    const DrawnProduct& p = products_[i];
    ADD_FAILURE() << IsaName(isa) << ", product " << i << " of " << products_.size() << ": " << got << " for "
                  << expected << " in row " << at / p.stride << ", output " << at % p.stride << "; "
                  << PackedTypeName(p.weights.type) << " " << tokens_ << "x" << p.outputs << "x" << cols_
                  << (p.has_gate ? base::StrCat(", gate ", PackedTypeName(p.gate.type)) : "")
                  << (p.has_bias ? ", bias" : "") << (p.has_residual ? ", residual" : "")
                  << (p.in_place ? " in place" : "") << ", activation " << static_cast<int>(p.activation)
                  << (p.capped ? ", capped" : "") << ", " << threads_ << " threads";
  }

  const int64_t tokens_;
  int64_t cols_;
  const int threads_;
  std::vector<float> x_;
  std::vector<DrawnProduct> products_;
};

TEST(MultiplyDifferential, EveryIsaGivesTheScalarBits) {
  ForEachDraw([](const Draw& draw) {
    const DrawnGroup group(draw);
    const auto expected = group.Multiplied(Isa::kScalar, true);
    for (const Isa isa : SupportedIsas()) {
      if (isa == Isa::kScalar) continue;
      group.ExpectSameBits(isa, expected);
      group.ExpectActivatedNearly(isa, expected);
    }
  });
}

}  // namespace
}  // namespace linnet::kernels
