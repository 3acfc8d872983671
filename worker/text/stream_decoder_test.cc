#include "worker/text/stream_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "worker/text/utf8.h"

namespace linnet::worker {
namespace {

using ::testing::ElementsAre;

// Tokens are the pieces given, in order; 1000 is a control token.
class PieceTokenizer : public Tokenizer {
 public:
  explicit PieceTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  std::vector<TokenId> Encode(std::string_view, const EncodeOptions&) const override { return {}; }
  std::string_view TokenBytes(TokenId id, bool special) const override {
    if (id == 1000) return special ? "<|end|>" : "";
    return pieces_[id];
  }
  int vocab_size() const override { return 1001; }
  bool IsControl(TokenId id) const override { return id == 1000; }
  const std::vector<TokenId>& end_of_generation() const override { return none_; }
  TokenId bos() const override { return -1; }
  TokenId eos() const override { return -1; }
  const std::vector<std::string>& control_texts() const override { return no_texts_; }

 private:
  const std::vector<std::string> pieces_;
  const std::vector<TokenId> none_;
  const std::vector<std::string> no_texts_;
};

struct Streamed {
  std::vector<std::string> parts;  // of each Push, then of Flush
  std::string text;
  bool stopped = false;
};

Streamed Stream(const std::vector<std::string>& pieces, const std::vector<std::string>& stops) {
  const PieceTokenizer tokenizer(pieces);
  StreamDecoder decoder(&tokenizer, stops);
  Streamed out;
  for (size_t i = 0; i < pieces.size(); ++i) out.parts.push_back(decoder.Push(static_cast<TokenId>(i)));
  out.parts.push_back(decoder.Flush());
  for (const std::string& part : out.parts) out.text += part;
  out.stopped = decoder.stopped();
  return out;
}

TEST(StreamDecoderTest, TextComesAsItIsFinal) {
  EXPECT_THAT(Stream({"Hel", "lo", " world"}, {}).parts, ElementsAre("Hel", "lo", " world", ""));
}

TEST(StreamDecoderTest, CharactersAreNeverSplit) {
  EXPECT_THAT(Stream({"a\xE2", "\x82",
                      "\xAC"
                      "b"},
                     {})
                  .parts,
              ElementsAre("a", "",
                          "\xE2\x82\xAC"
                          "b",
                          ""));
  EXPECT_THAT(Stream({"\xF0", "\x9F", "\x98", "\x80"}, {}).parts, ElementsAre("", "", "", "\xF0\x9F\x98\x80", ""));
}

TEST(StreamDecoderTest, BrokenBytesBecomeReplacementCharacters) {
  EXPECT_THAT(Stream({"a\xE2", "b"}, {}).parts, ElementsAre("a",
                                                            "\xEF\xBF\xBD"
                                                            "b",
                                                            ""));
  EXPECT_THAT(Stream({"\x80", "b"}, {}).parts, ElementsAre("\xEF\xBF\xBD", "b", ""));
  EXPECT_THAT(Stream({"a\xE2\x82"}, {}).parts, ElementsAre("a", "\xEF\xBF\xBD"));  // never completed
}

TEST(StreamDecoderTest, StopsInsideOneToken) {
  const Streamed out = Stream({"one STOP two", " three"}, {"STOP"});
  EXPECT_THAT(out.parts, ElementsAre("one ", "", ""));
  EXPECT_TRUE(out.stopped);
}

TEST(StreamDecoderTest, StopsAcrossTokens) {
  const Streamed out = Stream({"one S", "T", "OP", " two"}, {"STOP"});
  EXPECT_THAT(out.parts, ElementsAre("one ", "", "", "", ""));
  EXPECT_TRUE(out.stopped);
}

TEST(StreamDecoderTest, HeldTextComesOutWhenItIsNoStop) {
  const Streamed out = Stream({"one S", "T", "AR"}, {"STOP"});
  EXPECT_THAT(out.parts, ElementsAre("one ", "", "STAR", ""));
  EXPECT_FALSE(out.stopped);
  EXPECT_THAT(Stream({"one ST"}, {"STOP"}).parts, ElementsAre("one ", "ST"));
}

TEST(StreamDecoderTest, ABeginningInsideABeginningIsHeld) {
  EXPECT_THAT(Stream({"aab", "aabc"}, {"aabaabc"}).text, "");
  const Streamed out = Stream({"aabaab", "aabc!"}, {"aabaabc"});
  EXPECT_EQ(out.text, "aab");
  EXPECT_TRUE(out.stopped);
}

TEST(StreamDecoderTest, TheEarliestStopCuts) {
  const Streamed out = Stream({"x one two"}, {"two", "one"});
  EXPECT_EQ(out.text, "x ");
  EXPECT_TRUE(out.stopped);
}

TEST(StreamDecoderTest, StopTextsMayHaveManyBytes) {
  const Streamed out = Stream({"ab\xE2\x82",
                               "\xAC"
                               "cd"},
                              {"\xE2\x82\xAC"});
  EXPECT_EQ(out.text, "ab");
  EXPECT_TRUE(out.stopped);
  EXPECT_THAT(Stream({"a\xE2\x82", "\xAD"}, {"\xE2\x82\xAC"}).text, "a\xE2\x82\xAD");
}

TEST(StreamDecoderTest, NothingComesAfterAStop) {
  const PieceTokenizer tokenizer({"end", "more"});
  StreamDecoder decoder(&tokenizer, {"end"});
  EXPECT_EQ(decoder.Push(0), "");
  EXPECT_TRUE(decoder.stopped());
  EXPECT_EQ(decoder.Push(1), "");
  EXPECT_EQ(decoder.Flush(), "");
}

TEST(StreamDecoderTest, EmptyStopTextsStopNothing) {
  const Streamed out = Stream({"a", "b"}, {"", ""});
  EXPECT_EQ(out.text, "ab");
  EXPECT_FALSE(out.stopped);
}

TEST(StreamDecoderTest, ControlTokensHaveNoText) {
  const PieceTokenizer tokenizer({"a"});
  StreamDecoder decoder(&tokenizer, {});
  EXPECT_EQ(decoder.Push(1000), "");
  EXPECT_EQ(decoder.Push(0), "a");
}

// However text is cut into tokens, the whole is the same, and no part is broken UTF-8 or contains a stop text.
TEST(StreamDecoderTest, CutsDoNotMatter) {
  std::mt19937 random(3);
  const std::vector<std::string> alphabet = {"a",    "b",    "ab", "\xE2\x82\xAC", "\xC3\xA9", "\xF0\x9F\x98\x80",
                                             "\x80", "\xE2", " "};
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text += alphabet[random() % alphabet.size()];
    const std::string stop = alphabet[random() % 6] + alphabet[random() % 6] + alphabet[random() % 6];
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 3;
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    const Streamed out = Stream(pieces, {stop});
    const size_t found = text.find(stop);
    EXPECT_EQ(out.stopped, found != std::string::npos);
    EXPECT_EQ(out.text, ReplaceBrokenUtf8(text.substr(0, found)));
    for (const std::string& part : out.parts) EXPECT_EQ(ReplaceBrokenUtf8(part), part);
  }
}

}  // namespace
}  // namespace linnet::worker
