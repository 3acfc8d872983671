// Folders made here, by hand, and read back as GGUF files; real ones are in tests/golden and tests/peers.
#include "worker/checkpoint/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <numeric>

#include "base/strings.h"
#include "worker/checkpoint/convert_test_fixture.h"
#include "worker/text/tokenizer.h"

namespace linnet::worker {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(ConvertTest, LlamasQueriesAndKeysAreReorderedWithinHeads) {
  Llama();
  config_["tie_word_embeddings"] = true;
  Convert();
  // Dimensions (0, 2) and (1, 3) are the pairs that RoPE turns: rows 0, 2, 1, 3.
  const std::vector<float> reordered = {0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15};
  EXPECT_THAT(Values("blk.0.attn_q.weight"), ElementsAreArray(reordered));
  EXPECT_THAT(Values("blk.0.attn_k.weight"), ElementsAreArray(reordered));
  EXPECT_EQ(Values("blk.0.attn_v.weight")[4], 4);
  EXPECT_THAT(Dims("blk.0.ffn_down.weight"), ElementsAre(3, 4));
  EXPECT_EQ(Values("token_embd.weight")[0], 100);
  EXPECT_EQ(file_->FindTensor("output.weight"), nullptr);
  EXPECT_EQ(*file_->GetInt("general.file_type"), 0);
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(ConvertTest, SeveralHeadsAndTheirBiases) {
  Llama();
  config_["tie_word_embeddings"] = true;
  config_["num_attention_heads"] = 2;
  config_["num_key_value_heads"] = 1;
  config_["head_dim"] = 4;
  SafetensorsTestWriter fresh;
  std::swap(writer_, fresh);
  Counting("model.embed_tokens.weight", {kVocab, 4});
  Counting("model.norm.weight", {4});
  const std::string layer = "model.layers.0.";
  Counting(layer + "input_layernorm.weight", {4});
  Counting(layer + "post_attention_layernorm.weight", {4});
  Counting(layer + "self_attn.q_proj.weight", {8, 4});
  Counting(layer + "self_attn.k_proj.weight", {4, 4});
  Counting(layer + "self_attn.v_proj.weight", {4, 4});
  Counting(layer + "self_attn.o_proj.weight", {4, 8});
  Counting(layer + "self_attn.q_proj.bias", {8});
  Counting(layer + "self_attn.k_proj.bias", {4});
  Counting(layer + "self_attn.v_proj.bias", {4});
  Counting(layer + "mlp.gate_proj.weight", {3, 4});
  Counting(layer + "mlp.up_proj.weight", {3, 4});
  Counting(layer + "mlp.down_proj.weight", {4, 3});
  Convert();
  EXPECT_THAT(Values("blk.0.attn_q.bias"), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  EXPECT_THAT(Values("blk.0.attn_k.bias"), ElementsAre(0, 2, 1, 3));
  EXPECT_THAT(Values("blk.0.attn_v.bias"), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(Values("blk.0.attn_q.weight")[4 * 5], 4 * 6);
}

TEST_F(ConvertTest, MatricesKeepTheirTypeAndVectorsAreF32) {
  Llama();
  config_["tie_word_embeddings"] = true;
  SafetensorsTestWriter half;
  const std::vector<float> ones(20, 1.5f);
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    half.AddBf16(name, shape, {ones.begin(), ones.begin() + count});
  };
  add("model.embed_tokens.weight", {kVocab, 4});
  add("model.norm.weight", {4});
  const std::string layer = "model.layers.0.";
  add(layer + "input_layernorm.weight", {4});
  add(layer + "post_attention_layernorm.weight", {4});
  for (const char* name : {"q", "k", "v", "o"}) add(layer + "self_attn." + name + "_proj.weight", {4, 4});
  add(layer + "mlp.gate_proj.weight", {3, 4});
  add(layer + "mlp.up_proj.weight", {3, 4});
  half.AddF16(layer + "mlp.down_proj.weight", {4, 3}, {ones.begin(), ones.begin() + 12});
  writer_ = half;
  Convert();
  EXPECT_EQ(file_->FindTensor("blk.0.attn_q.weight")->type, kernels::DType::kBF16);
  EXPECT_EQ(file_->FindTensor("blk.0.ffn_down.weight")->type, kernels::DType::kF16);
  EXPECT_EQ(file_->FindTensor("output_norm.weight")->type, kernels::DType::kF32);
  for (const GgufTensor& tensor : file_->tensors()) EXPECT_THAT(Values(tensor.name.c_str()), ::testing::Each(1.5f));
  EXPECT_EQ(*file_->GetInt("general.file_type"), 32);  // mostly BF16
}

TEST_F(ConvertTest, Gpt2IsTransposed) {
  config_ = {{"architectures", {"GPT2Model"}}, {"n_embd", 2},         {"n_layer", 1}, {"n_head", 1}, {"n_positions", 3},
             {"layer_norm_epsilon", 1e-5},     {"vocab_size", kVocab}};
  // As the first GPT-2 was published: without the prefix, with buffers of masks.
  Counting("wte.weight", {kVocab, 2});
  Counting("wpe.weight", {3, 2});
  for (const char* norm : {"ln_f", "h.0.ln_1", "h.0.ln_2"}) {
    Counting(base::StrCat(norm, ".weight"), {2});
    Counting(base::StrCat(norm, ".bias"), {2});
  }
  Counting("h.0.attn.c_attn.weight", {2, 6});
  Counting("h.0.attn.c_attn.bias", {6});
  Counting("h.0.attn.c_proj.weight", {2, 2});
  Counting("h.0.attn.c_proj.bias", {2});
  Counting("h.0.mlp.c_fc.weight", {2, 8});
  Counting("h.0.mlp.c_fc.bias", {8});
  Counting("h.0.mlp.c_proj.weight", {8, 2});
  Counting("h.0.mlp.c_proj.bias", {2});
  writer_.Raw("h.0.attn.bias", "BOOL", {1, 1, 2, 2}, std::string(4, '\1'));
  writer_.Add("h.0.attn.masked_bias", {}, {-1e4f});
  Convert();
  EXPECT_THAT(Dims("blk.0.attn_qkv.weight"), ElementsAre(2, 6));
  EXPECT_THAT(Values("blk.0.attn_qkv.weight"), ElementsAre(0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11));
  EXPECT_THAT(Values("blk.0.ffn_down.weight"), ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
  EXPECT_THAT(Values("position_embd.weight"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(*file_->GetInt("gpt2.feed_forward_length"), 8);
  EXPECT_THAT(notes_,
              AllOf(Contains(HasSubstr("1 tensors *.attn.bias")), Contains(HasSubstr("1 tensors *.attn.masked_bias"))));
}

TEST_F(ConvertTest, NeoXsFusedProjectionIsSortedByKind) {
  config_ = {{"architectures", {"GPTNeoXForCausalLM"}},
             {"hidden_size", 4},
             {"num_hidden_layers", 1},
             {"num_attention_heads", 2},
             {"intermediate_size", 3},
             {"vocab_size", kVocab},
             {"layer_norm_eps", 1e-5},
             {"rotary_pct", 1.0},
             {"max_position_embeddings", 16}};
  Counting("gpt_neox.embed_in.weight", {kVocab, 4});
  Counting("embed_out.weight", {kVocab, 4}, 7);
  const std::string layer = "gpt_neox.layers.0.";
  for (const std::string& norm :
       {std::string("gpt_neox.final_layer_norm"), layer + "input_layernorm", layer + "post_attention_layernorm"}) {
    Counting(norm + ".weight", {4});
    Counting(norm + ".bias", {4});
  }
  Counting(layer + "attention.query_key_value.weight", {12, 4});
  Counting(layer + "attention.query_key_value.bias", {12});
  Counting(layer + "attention.dense.weight", {4, 4});
  Counting(layer + "attention.dense.bias", {4});
  Counting(layer + "mlp.dense_h_to_4h.weight", {3, 4});
  Counting(layer + "mlp.dense_h_to_4h.bias", {3});
  Counting(layer + "mlp.dense_4h_to_h.weight", {4, 3});
  Counting(layer + "mlp.dense_4h_to_h.bias", {4});
  Counting(layer + "attention.rotary_emb.inv_freq", {2});
  Convert();
  // Heads of 2: q0 k0 v0 q1 k1 v1 becomes q0 q1 k0 k1 v0 v1.
  EXPECT_THAT(Values("blk.0.attn_qkv.bias"), ElementsAre(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11));
  EXPECT_EQ(Values("blk.0.attn_qkv.weight")[2 * 4], 6 * 4);
  EXPECT_EQ(Values("output.weight")[0], 7);
}

TEST_F(ConvertTest, GemmasNormsCountFromZeroInTheCheckpoint) {
  Llama();
  config_["architectures"] = {"GemmaForCausalLM"};
  config_["hidden_act"] = "gelu";
  Convert();
  EXPECT_THAT(Values("output_norm.weight"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Values("blk.0.attn_norm.weight"), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(Values("blk.0.attn_q.weight")[4], 4);  // and nothing is reordered
}

TEST_F(ConvertTest, OutputsThatAreTheEmbeddingsAgainAreLeftOut) {
  Llama();
  Counting("lm_head.weight", {kVocab, 4}, 100);
  Convert();
  EXPECT_EQ(file_->FindTensor("output.weight"), nullptr);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("left out: lm_head.weight")));
}

TEST_F(ConvertTest, AnOutputMatrixOfItsOwnIsKeptWhateverTheConfigSays) {
  Llama();
  config_["tie_word_embeddings"] = true;
  Counting("lm_head.weight", {kVocab, 4}, 99);
  Convert();
  EXPECT_EQ(Values("output.weight")[0], 99);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("lm_head.weight is another matrix")));
}

TEST_F(ConvertTest, SharedEmbeddingsMayBeKeptAsTheOutput) {
  Llama("lm_head.weight");
  config_["tie_word_embeddings"] = true;
  Convert();
  EXPECT_EQ(Values("token_embd.weight")[0], 100);
  EXPECT_EQ(file_->FindTensor("output.weight"), nullptr);
}

TEST_F(ConvertTest, EveryTensorThatIsMissingUnexpectedOrMisshapenIsNamed) {
  Llama();
  config_["num_hidden_layers"] = 2;
  config_["intermediate_size"] = 5;
  config_["tie_word_embeddings"] = false;
  Counting("model.layers.0.self_attn.q_proj.lora_A", {4});
  writer_.Raw("model.layers.1.input_layernorm.weight", "I32", {4}, std::string(16, '\0'));
  const std::string complaint = Complaint();
  EXPECT_THAT(
      complaint,
      AllOf(HasSubstr("tensor model.layers.1.self_attn.q_proj.weight is missing"),
            HasSubstr("tensor lm_head.weight is missing, and config.json does not say"),
            HasSubstr("tensor \"model.layers.0.mlp.up_proj.weight\" has shape [3, 4], and config.json makes it [5, 4]"),
            HasSubstr("tensor \"model.layers.1.input_layernorm.weight\" is I32"),
            HasSubstr("tensor \"model.layers.0.self_attn.q_proj.lora_A\" is unexpected")));
}

TEST_F(ConvertTest, ABiasInSomeLayersOnlyIsMissingInTheOthers) {
  Llama();
  config_["num_hidden_layers"] = 2;
  Counting("model.layers.0.self_attn.q_proj.bias", {4});
  EXPECT_THAT(Complaint(), HasSubstr("tensor model.layers.1.self_attn.q_proj.bias is missing"));
}

TEST_F(ConvertTest, TheConfigsWordOnBiasesHolds) {
  Llama();
  config_.update({{"tie_word_embeddings", true}, {"attention_bias", true}, {"mlp_bias", true}});
  EXPECT_THAT(
      Complaint(),
      AllOf(
          HasSubstr("tensor model.layers.0.self_attn.q_proj.bias is missing, and config.json promises it (attention_"
                    "bias is true)"),
          HasSubstr("tensor model.layers.0.self_attn.o_proj.bias is missing"),
          HasSubstr("tensor model.layers.0.mlp.down_proj.bias is missing, and config.json promises it (mlp_bias is")));
  config_.update({{"attention_bias", false}, {"mlp_bias", nullptr}});
  Counting("model.layers.0.mlp.up_proj.bias", {3});
  Counting("model.layers.0.mlp.gate_proj.bias", {3});
  Counting("model.layers.0.mlp.down_proj.bias", {4});
  Convert();
  EXPECT_NE(file_->FindTensor("blk.0.ffn_up.bias"), nullptr);
  std::filesystem::remove(out_.Path("out.gguf"));
  Counting("model.layers.0.self_attn.q_proj.bias", {4});
  EXPECT_THAT(
      Complaint(),
      HasSubstr("tensor \"model.layers.0.self_attn.q_proj.bias\" is unexpected, since attention_bias is false"));
}

TEST_F(ConvertTest, StableLmHasAWordOfItsOwnForBiases) {
  StableLm();
  config_["use_qkv_bias"] = true;
  EXPECT_THAT(
      Complaint(),
      AllOf(HasSubstr("tensor model.layers.0.self_attn.v_proj.bias is missing, and config.json promises it (use_"
                      "qkv_bias is true)"),
            Not(HasSubstr("o_proj.bias"))));
  for (const char* name : {"q", "k", "v"}) Counting(base::StrCat("model.layers.0.self_attn.", name, "_proj.bias"), {4});
  Convert();
  EXPECT_THAT(Values("blk.0.attn_q.bias"), ElementsAre(0, 1, 2, 3));
}

TEST_F(ConvertTest, StableLmsParallelFormHasOneNormAndOneOfEachHead) {
  StableLm(/*parallel=*/true);
  config_["qk_layernorm"] = true;
  const std::string attention = "model.layers.0.self_attn.";
  EXPECT_THAT(Complaint(), HasSubstr("tensor model.layers.0.self_attn.q_layernorm.norms.0.weight is missing"));
  Counting(attention + "q_layernorm.norms.0.weight", {2});
  Counting(attention + "q_layernorm.norms.1.weight", {2}, 10);
  Counting(attention + "k_layernorm.norms.0.weight", {2}, 20);
  Counting(attention + "k_layernorm.norms.1.weight", {2}, 30);
  const GgufFile& file = Convert();
  EXPECT_TRUE(*file.GetBoolOr("stablelm.use_parallel_residual", false));
  EXPECT_EQ(file.FindTensor("blk.0.ffn_norm.weight"), nullptr);
  EXPECT_THAT(Dims("blk.0.attn_q_norm.weight"), ElementsAre(2, 2));
  EXPECT_EQ(file.FindTensor("blk.0.attn_q_norm.weight")->type, kernels::DType::kF32);
  EXPECT_THAT(Values("blk.0.attn_q_norm.weight"), ElementsAre(0, 1, 10, 11));
  EXPECT_THAT(Values("blk.0.attn_k_norm.weight"), ElementsAre(20, 21, 30, 31));
  std::filesystem::remove(out_.Path("out.gguf"));
  config_["use_parallel_residual"] = false;
  EXPECT_THAT(Complaint(), HasSubstr("tensor model.layers.0.post_attention_layernorm.weight is missing"));
}

TEST_F(ConvertTest, AWeightThatIsNoNumberIsNamed) {
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    writer_ = {};
    Llama();
    config_["tie_word_embeddings"] = true;
    std::string whole = writer_.Build();
    std::memcpy(whole.data() + whole.size() - 4, &wrong, 4);  // of the last tensor
    WriteFolder();
    tree_.Write("model.safetensors", whole);
    const absl::Status status = ConvertCheckpoint(tree_.root(), out_.Path("out.gguf"), {}).status();
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("model.safetensors"),
                      HasSubstr("\"model.layers.0.mlp.down_proj.weight\" has a weight that is no finite number")));
    EXPECT_TRUE(std::filesystem::is_empty(out_.root()));
  }
}

TEST_F(ConvertTest, ATokenWithoutEmbeddingIsRefusedUnlessItWasAdded) {
  Llama();
  config_["tie_word_embeddings"] = true;
  tokenizer_["model"]["vocab"]["z"] = 17;
  EXPECT_THAT(Complaint(), HasSubstr("token \"z\" has the id 17, and the embeddings have 5 rows"));
  tokenizer_["model"]["vocab"].erase("z");
  tokenizer_["added_tokens"].push_back({{"id", kVocab}, {"content", "<image>"}, {"special", true}});
  const GgufFile& file = Convert();
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("left out: 1 added tokens")));
  // To this model it is a text.
  const auto made = *Tokenizer::FromGguf(file);
  EXPECT_EQ(made->vocab_size(), kVocab);
  EXPECT_THAT(made->Encode("<image>a", {.parse_special = true}), ElementsAre(0, 0));
}

// They would be refused when the file is to run.
TEST_F(ConvertTest, ATokenizerThatCannotRunIsRefused) {
  Llama();
  config_["tie_word_embeddings"] = true;
  const json good = tokenizer_;
  const auto complaint = [&](const char* part, const char* member, const json& value) {
    tokenizer_ = good;
    (part == nullptr ? tokenizer_ : tokenizer_[part])[member] = value;
    return Complaint();
  };
  EXPECT_THAT(complaint("model", "merges", json::array({"a x"})),
              AllOf(HasSubstr("merges[0]"), HasSubstr("\"x\""), HasSubstr("fetch the tokenizer's files again")));
  const json greedy = {
      {"type", "Split"}, {"pattern", {{"Regex", "(?:a+)+$x"}}}, {"behavior", "Isolated"}, {"invert", false}};
  EXPECT_THAT(complaint(nullptr, "pre_tokenizer", greedy), HasSubstr("takes too long"));
  EXPECT_THAT(complaint(nullptr, "normalizer", {{"type", "Surprise"}}), HasSubstr("type \"Surprise\""));
  json nested = {{"type", "NFC"}};
  for (int i = 0; i < 40; ++i) nested = {{"type", "Sequence"}, {"normalizers", json::array({nested})}};
  EXPECT_THAT(complaint(nullptr, "normalizer", nested), HasSubstr("deep"));
  tokenizer_ = good;
  Convert();
}

TEST_F(ConvertTest, AFolderWithoutTokenizerIsToldWhereToGetOne) {
  Llama();
  config_["tie_word_embeddings"] = true;
  WriteFolder();
  std::filesystem::remove(tree_.Path("tokenizer.json"));
  const absl::Status status = ConvertCheckpoint(tree_.root(), out_.Path("out.gguf"), {}).status();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("neither tokenizer.json nor tokenizer.model"), HasSubstr("save_pretrained")));
}

TEST_F(ConvertTest, StopsWhenAskedAndLeavesNothing) {
  Llama();
  config_["tie_word_embeddings"] = true;
  WriteFolder();
  std::stop_source stop;
  stop.request_stop();
  const absl::Status status =
      ConvertCheckpoint(tree_.root(), out_.Path("out.gguf"), {.progress = {}, .stop = stop.get_token()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(std::filesystem::is_empty(out_.root()));
}

TEST_F(ConvertTest, NamesAndLicence) {
  Llama();
  config_["tie_word_embeddings"] = true;
  tree_.Write("README.md", "---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: none\n");
  EXPECT_EQ(*Convert().GetString("general.license"), "apache-2.0");
  EXPECT_EQ(*file_->GetString("general.name"), std::filesystem::path(tree_.root()).filename().string());
  // Hugging Face's cache names folders by commits.
  WriteFolder();
  const std::string snapshot = out_.Path("models--owner--Small-1B/snapshots/0123456789abcdef");
  std::filesystem::create_directories(std::filesystem::path(snapshot).parent_path());
  std::filesystem::copy(tree_.root(), snapshot);
  EXPECT_EQ(ConvertCheckpoint(snapshot, out_.Path("b.gguf"), {})->name, "Small-1B");
}

}  // namespace
}  // namespace linnet::worker
