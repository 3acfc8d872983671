// Random groups of products on every instruction set against the scalar reference, bit for bit: the shapes, types and
// values that no list of cases thought of. LINNET_DIFFERENTIAL_DRAWS says how many; a draw's number is its seed.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "kernels/kernel_test_util.h"
#include "kernels/matrix.h"
#include "kernels/packed_type.h"

namespace linnet::kernels {
namespace {

using testing::FillQuants;
using testing::RandomFloats;
using testing::RandomWeights;
using testing::ScopedIsa;

constexpr ActivationKind kActivations[] = {ActivationKind::kSilu,     ActivationKind::kGelu,
                                           ActivationKind::kGeluTanh, ActivationKind::kGeluQuick,
                                           ActivationKind::kRelu,     ActivationKind::kReluSquared};
constexpr int64_t kMostProducts = 3, kMostTokens = 80, kMostOutputs = 200, kMostGroups = 64, kMostGap = 5;

int64_t WantedDraws() {
  const char* const wanted = std::getenv("LINNET_DIFFERENTIAL_DRAWS");
  int64_t draws = 200;  // 2 s
  if (wanted != nullptr) {
    EXPECT_TRUE(absl::SimpleAtoi(wanted, &draws) && draws > 0) << wanted;
  }
  return draws;
}

class Draw {
 public:
  explicit Draw(int64_t seed) : random_(static_cast<uint32_t>(seed)) {}
  // [0, count)
  int64_t Below(int64_t count) { return std::uniform_int_distribution<int64_t>(0, count - 1)(random_); }
  bool OneIn(int64_t count) { return Below(count) == 0; }
  // [1, most], small ones as often as large ones.
  int64_t Size(int64_t most) {
    const double log = std::uniform_real_distribution<double>(0, std::log2(most + 1.0))(random_);
    return std::clamp(static_cast<int64_t>(std::exp2(log)), int64_t{1}, most);
  }
  PackedType Type() { return testing::kPackedTypes[Below(std::ssize(testing::kPackedTypes))]; }
  std::vector<uint8_t> Weights(PackedType type, int64_t rows, int64_t cols) {
    auto bytes = RandomWeights(type, rows, cols, random_);
    if (OneIn(4)) FillQuants(type.type, static_cast<uint8_t>(OneIn(2) ? 0xFF * Below(2) : Below(256)), bytes);
    return bytes;
  }
  std::vector<float> Floats(int64_t count) { return RandomFloats(count, random_); }
  // Of the usual size, all of one size (8-bit activations as large as they get), or of sizes far apart with zeros.
  std::vector<float> Inputs(int64_t count) {
    auto x = Floats(count);
    const int64_t kind = Below(4);
    for (float& v : x) {
      if (kind == 1) v = 1.0f;
      if (kind == 2) v = std::copysign(1.0f, v);
      if (kind == 3) v = OneIn(2) ? 0.0f : std::ldexp(v, static_cast<int>(Below(40)) - 20);
    }
    return x;
  }

 private:
  std::mt19937 random_;
};

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
    for (DrawnProduct& p : products_) {
      p.weights.type = draw.Type();
      p.gate.type = draw.Type();
      const int64_t block = std::max(Info(p.weights.type.type).block_elements, Info(p.gate.type.type).block_elements);
      cols_ = (cols_ + block - 1) / block * block;
    }
    x_ = draw.Inputs(tokens_ * cols_);
    for (DrawnProduct& p : products_) {
      p.outputs = draw.Size(kMostOutputs);
      p.stride = p.outputs + draw.Below(kMostGap + 1);
      p.weights.bytes = draw.Weights(p.weights.type, p.outputs, cols_);
      p.gate.bytes = draw.Weights(p.gate.type, p.outputs, cols_);
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

  // The outputs of each product, [tokens, stride], what lies between rows included.
  std::vector<std::vector<float>> Multiplied(Isa isa) const {
    const ScopedIsa scoped(isa);
    ThreadPool pool(threads_);
    std::vector<std::unique_ptr<Matrix>> matrices;
    std::vector<std::vector<float>> y;
    std::vector<Product> products;
    for (const DrawnProduct& p : products_) {
      y.push_back(p.in_place ? p.residual : std::vector<float>(p.residual.size(), -1.0f));
      // Activations by plain loops: vectors' exponentials agree only within a tolerance, which rows_test.cc looks at.
      Product product = {.y = y.back().data(), .y_stride = p.stride, .activation = p.activation, .reference = true};
      product.weights = matrices.emplace_back(p.weights.Create(p.outputs, cols_, pool)).get();
      if (p.has_gate) product.gate = matrices.emplace_back(p.gate.Create(p.outputs, cols_, pool)).get();
      if (p.has_gate_bias) product.gate_bias = p.gate_bias.data();
      if (p.capped) product.softcap = 30;
      if (p.has_bias) product.bias = p.bias.data();
      if (p.has_residual) product.residual = p.in_place ? product.y : p.residual.data();
      products.push_back(product);
    }
    Activations activations;
    activations.Set(x_.data(), tokens_, cols_);
    Multiply(products, activations, pool);
    return y;
  }

  void Compare(Isa isa, const std::vector<std::vector<float>>& expected) const {
    const auto got = Multiplied(isa);
    for (size_t i = 0; i < products_.size(); ++i) {
      const DrawnProduct& p = products_[i];
      const auto same = [](float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); };
      const auto [e, g] = std::mismatch(expected[i].begin(), expected[i].end(), got[i].begin(), same);
      if (e == expected[i].end()) continue;
      const int64_t at = e - expected[i].begin();
      ADD_FAILURE() << IsaName(isa) << ", product " << i << " of " << products_.size() << ": " << *g << " for " << *e
                    << " in row " << at / p.stride << ", output " << at % p.stride << "; "
                    << PackedTypeName(p.weights.type) << " " << tokens_ << "x" << p.outputs << "x" << cols_
                    << (p.has_gate ? base::StrCat(", gate ", PackedTypeName(p.gate.type)) : "")
                    << (p.has_bias ? ", bias" : "") << (p.has_residual ? ", residual" : "")
                    << (p.in_place ? " in place" : "") << ", " << threads_ << " threads";
    }
  }

 private:
  const int64_t tokens_;
  int64_t cols_;
  const int threads_;
  std::vector<float> x_;
  std::vector<DrawnProduct> products_;
};

TEST(MultiplyDifferential, EveryIsaGivesTheScalarBits) {
  const int64_t draws = WantedDraws();
  for (int64_t seed = 0; seed < draws && !HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("draw ", seed));
    const DrawnGroup group{Draw(seed)};
    const auto expected = group.Multiplied(Isa::kScalar);
    for (const Isa isa : SupportedIsas()) {
      if (isa != Isa::kScalar) group.Compare(isa, expected);
    }
  }
}

}  // namespace
}  // namespace linnet::kernels
