// Packed weights that lie where the caller says, and those that were packed before.
#include "kernels/quant_matrix.h"

#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"
#include "kernels/aligned_buffer.h"
#include "kernels/dense_pack.h"
#include "kernels/kernel_test_util.h"
#include "kernels/quant_pack.h"

namespace linnet::kernels {
namespace {

using testing::RandomFloats;
using testing::RandomWeights;

constexpr int64_t kRows = 50, kCols = 512, kTokens = 5;

class PackedPlaceTest : public ::testing::TestWithParam<PackedType> {
 protected:
  PackedPlace NewPlace() const {
    auto memory = std::make_shared<AlignedBuffer>(
        *AlignedBuffer::Create(Matrix::PackedBytes(GetParam(), kRows, kCols, Precision::kFast)));
    return {.bytes = {memory->data(), static_cast<size_t>(memory->bytes())}, .owner = memory};
  }
  Matrix::Source Source() const {
    return {.type = GetParam().type,
            .rows = kRows,
            .cols = kCols,
            .data = reinterpret_cast<const std::byte*>(weights_.data()),
            .shared = GetParam().shared};
  }
  std::vector<float> Multiplied(const Matrix& matrix) {
    std::vector<float> y(kTokens * kRows);
    Activations activations;
    activations.Set(x_.data(), kTokens, kCols);
    const Product product{.weights = &matrix, .y = y.data()};
    Multiply({&product, 1}, activations, pool_);
    return y;
  }

  ThreadPool pool_{2};
  std::mt19937 random_{7};
  const std::vector<uint8_t> weights_ = RandomWeights(GetParam(), kRows, kCols, random_);
  const std::vector<float> x_ = RandomFloats(kTokens * kCols, random_);
};
INSTANTIATE_TEST_SUITE_P(Formats, PackedPlaceTest, ::testing::ValuesIn(testing::kPackedTypes),
                         [](const auto& info) { return std::string(PackedTypeName(info.param)); });
INSTANTIATE_TEST_SUITE_P(DenseFormats, PackedPlaceTest,
                         ::testing::ValuesIn(std::vector<PackedType>(std::begin(testing::kDenseTypes),
                                                                     std::end(testing::kDenseTypes))),
                         [](const auto& info) { return std::string(PackedTypeName(info.param)); });

TEST_P(PackedPlaceTest, MatrixFromPackedBytesIsTheOneThatPackedThem) {
  const PackedPlace place = NewPlace();
  const auto own = Matrix::Create(Source(), Precision::kFast, pool_);
  const auto placed = Matrix::Create(Source(), Precision::kFast, pool_, place);
  ASSERT_TRUE(placed.ok()) << placed.status();
  PackedPlace copy = NewPlace();
  std::memcpy(copy.bytes.data(), place.bytes.data(), place.bytes.size());
  const std::weak_ptr<const void> owner = copy.owner;
  const auto again = Matrix::FromPacked(GetParam(), kRows, kCols, std::move(copy));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(owner.expired()) << "the matrix keeps its memory";
  EXPECT_EQ((*again)->bytes(), (*own)->bytes());
  const std::vector<float> expected = Multiplied(**own);
  EXPECT_EQ(Multiplied(**placed), expected);
  EXPECT_EQ(Multiplied(**again), expected);
  std::vector<float> row(kCols), same(kCols);
  (*own)->DequantizeRow(kRows - 1, row.data());
  (*again)->DequantizeRow(kRows - 1, same.data());
  EXPECT_EQ(row, same);
}

TEST_P(PackedPlaceTest, PlaceOfAnotherSizeOrBorderIsRefused) {
  PackedPlace place = NewPlace();
  place.bytes = place.bytes.subspan(1);
  EXPECT_EQ(Matrix::FromPacked(GetParam(), kRows, kCols, place).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Matrix::Create(Source(), Precision::kFast, pool_, place).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Matrix::FromPacked(GetParam(), kRows, kCols + 256, NewPlace()).ok());
}

TEST_P(PackedPlaceTest, SourceIsReleasedInOrderAndWhole) {
  // Large enough for several releases.
  const int64_t rows = 3 * static_cast<int64_t>(Matrix::kMostUnreleasedBytes) / BytesFor(GetParam().type, kCols) + 5;
  const std::vector<uint8_t> weights(static_cast<size_t>(rows * BytesFor(GetParam().type, kCols)));
  const std::byte* next = reinterpret_cast<const std::byte*>(weights.data());
  int releases = 0;
  const auto matrix = Matrix::Create({.type = GetParam().type,
                                      .rows = rows,
                                      .cols = kCols,
                                      .data = next,
                                      .shared = GetParam().shared,
                                      .release =
                                          [&](std::span<const std::byte> done) {
                                            EXPECT_EQ(done.data(), next);
                                            EXPECT_LE(done.size(), Matrix::kMostUnreleasedBytes);
                                            next += done.size();
                                            ++releases;
                                          }},
                                     Precision::kFast, pool_);
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(next, reinterpret_cast<const std::byte*>(weights.data()) + weights.size());
  EXPECT_GE(releases, 3);
}

// One scale that differs, the last one that there is, is seen: and then the source is released all the same.
TEST(SharedScalesTest, MatrixWhoseScalesAreNotSharedIsRefused) {
  ThreadPool pool(2);
  for (const PackedType type : {kInt8, kInt4G64}) {
    std::mt19937 random(3);
    const int64_t block_bytes = Info(type.type).block_bytes;
    std::vector<uint8_t> weights = RandomWeights(type, kRows, kCols, random);
    size_t released = 0;
    const auto create = [&] {
      return Matrix::Create({.type = type.type,
                             .rows = kRows,
                             .cols = kCols,
                             .data = reinterpret_cast<const std::byte*>(weights.data()),
                             .shared = type.shared,
                             .release = [&](std::span<const std::byte> done) { released += done.size(); }},
                            Precision::kFast, pool);
    };
    EXPECT_TRUE(create().ok()) << PackedTypeName(type);
    weights[weights.size() - static_cast<size_t>(block_bytes)] ^= 1;
    released = 0;
    const absl::Status status = create().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << PackedTypeName(type);
    EXPECT_NE(std::string(status.message()).find(PackedTypeName(type)), std::string::npos) << status;
    EXPECT_EQ(released, weights.size());
  }
}

// Of the tiles of arbitrary weights of those types, with rows of `cols`.
template <class Layout, class Types, class Pack>
std::string PackedDigest(const Types& types, int64_t cols, Pack pack) {
  base::Sha256 hash;
  for (const auto type : types) {
    const PackedType packed = type;
    std::vector<uint8_t> stored(static_cast<size_t>(kRows * BytesFor(packed.type, cols)));
    uint32_t state = 1;
    for (uint8_t& byte : stored) byte = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    testing::ShareScales(packed, kRows, cols, stored);
    const Layout layout = Layout::For(type, kRows, cols);
    std::vector<uint8_t> tile(static_cast<size_t>(layout.tile_bytes));
    for (int64_t t = 0; t < layout.tiles; ++t) {
      pack(layout, stored.data(), t, tile.data());
      hash.Update(std::string_view(reinterpret_cast<const char*>(tile.data()), tile.size()));
    }
  }
  return hash.Digest();
}

// Packed weights are kept on disk: other bytes need another kPackerVersion, and then other digests here.
TEST(QuantPackTest, PackedBytesAreThoseOfThisVersion) {
  ASSERT_EQ(kPackerVersion, 2u);
  const auto pack = [](const QuantLayout& layout, const uint8_t* stored, int64_t tile, uint8_t* out) {
    EXPECT_TRUE(PackTile(layout, stored, tile, out));
  };
  EXPECT_EQ(PackedDigest<QuantLayout>(testing::kQuantTypes, kCols, pack),
            "sha256:38dbbe67f0ba4f11bb0aaca31fb90ec78bef4c5d9198380363f87c0acb969791");
  constexpr PackedType kShared[] = {kInt8, kInt4G64};
  EXPECT_EQ(PackedDigest<QuantLayout>(kShared, kCols, pack),
            "sha256:007d41e50fb0f86236f25466e7718beb8c0b804771071cdd5b53ac97bad94540");
}

TEST(DensePackTest, PackedBytesAreThoseOfThisVersion) {
  ASSERT_EQ(kPackerVersion, 2u);
  EXPECT_EQ(PackedDigest<DenseLayout>(testing::kDenseTypes, 131, PackDenseTile),
            "sha256:40e801fb10c73a0b499331f6812a17301355ba17f308a3b8c379f1bc8400a841");
}

}  // namespace
}  // namespace linnet::kernels
