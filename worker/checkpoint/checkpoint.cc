#include "worker/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "worker/checkpoint/json_text.h"

namespace linnet::worker {
namespace {

namespace fs = std::filesystem;

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kSingle[] = "model.safetensors";
constexpr uint64_t kMaxIndexBytes = 16 << 20;
constexpr size_t kMaxFiles = 1024;

std::string In(const std::string& dir, std::string_view name) { return (fs::path(dir) / name).string(); }

absl::StatusOr<std::vector<std::string>> FileNames(const std::string& dir) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) names.push_back(it->path().filename().string());
  }
  if (error) return base::ErrnoStatus(error.value(), "list", dir);
  std::sort(names.begin(), names.end());
  return names;
}

// tensor -> file
absl::StatusOr<std::map<std::string, std::string>> ReadIndex(const std::string& dir) {
  const std::string path = In(dir, kIndex);
  LINNET_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJson(path, kMaxIndexBytes));
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return CheckpointError(path, {"has no weight_map object"});
  }
  std::map<std::string, std::string> index;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    if (!file.is_string()) return CheckpointError(path, {base::StrCat(Quoted(tensor), " has no file name")});
    const auto& name = file.get_ref<const std::string&>();
    // Names within the folder: an index comes from elsewhere.
    if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..") {
      return CheckpointError(path, {base::StrCat(Quoted(tensor), " is said to be in ", Quoted(name),
                                                 ", which is no file of this folder")});
    }
    index.emplace(tensor, name);
  }
  return index;
}

absl::Status NoWeights(const std::string& dir, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const std::string extension = fs::path(name).extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt") {
      return CheckpointError(
          dir, {base::StrCat("its weights are pickled (", name,
                             "), which is a program that loading would run. Save them as safetensors: python3 -c "
                             "\"from transformers import AutoModelForCausalLM as M; "
                             "M.from_pretrained('FOLDER', dtype='auto').save_pretrained('NEW_FOLDER')\", and copy the "
                             "tokenizer's files")});
    }
  }
  return CheckpointError(
      dir, {base::StrCat("there is no ", kSingle, " and no ", kIndex, " in it; download the model's whole folder")});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& dir) {
  LINNET_ASSIGN_OR_RETURN(const std::vector<std::string> names, FileNames(dir));
  const auto has = [&](const char* name) { return std::binary_search(names.begin(), names.end(), name); };
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint(dir));
  if (has(kIndex)) {
    LINNET_ASSIGN_OR_RETURN(const auto index, ReadIndex(dir));
    std::set<std::string> files;
    for (const auto& [tensor, file] : index) files.insert(file);
    std::vector<std::string> missing;
    for (const std::string& file : files) {
      if (!has(file.c_str())) missing.push_back(file);
    }
    if (!missing.empty()) {
      return CheckpointError(dir, {base::StrCat("files that ", kIndex, " names are missing: ",
                                                absl::StrJoin(missing, ", "), "; download them")});
    }
    LINNET_RETURN_IF_ERROR(checkpoint->OpenFiles({files.begin(), files.end()}));
    LINNET_RETURN_IF_ERROR(checkpoint->CheckIndex(index));
  } else if (has(kSingle)) {
    LINNET_RETURN_IF_ERROR(checkpoint->OpenFiles({kSingle}));
  } else {
    return NoWeights(dir, names);
  }
  return checkpoint;
}

absl::Status Checkpoint::OpenFiles(const std::vector<std::string>& names) {
  if (names.size() > kMaxFiles) {
    return CheckpointError(dir_, {base::StrCat("its weights are in ", names.size(), " files, more than ", kMaxFiles)});
  }
  for (const std::string& name : names) {
    LINNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(In(dir_, name)));
    for (const SafetensorsTensor& tensor : file->tensors()) {
      const auto [it, fresh] = tensors_.emplace(tensor.name, CheckpointTensor{&tensor, file.get()});
      if (!fresh) {
        return CheckpointError(dir_, {base::StrCat("tensor ", Quoted(tensor.name), " is both in ",
                                                   it->second.file->path(), " and in ", file->path())});
      }
    }
    files_.push_back(std::move(file));
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::CheckIndex(const std::map<std::string, std::string>& index) {
  std::vector<std::string> problems;
  for (const auto& [tensor, file] : index) {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end() || found->second.file->path() != In(dir_, file)) {
      problems.push_back(base::StrCat("tensor ", Quoted(tensor), " is not in ", file, ", where ", kIndex, " has it"));
    }
  }
  for (const auto& [name, tensor] : tensors_) {
    if (!index.contains(name)) problems.push_back(base::StrCat("tensor ", Quoted(name), " is not in ", kIndex));
  }
  return problems.empty() ? absl::OkStatus() : CheckpointError(dir_, problems);
}

bool IsCheckpoint(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) && fs::exists(fs::path(path) / "config.json", error);
}

absl::StatusOr<std::vector<std::string>> CheckpointFiles(const std::string& dir) {
  LINNET_ASSIGN_OR_RETURN(const std::vector<std::string> names, FileNames(dir));
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    const std::string extension = fs::path(name).extension().string();
    for (const std::string_view read : {".json", ".safetensors", ".model", ".jinja", ".txt", ".tiktoken", ".md"}) {
      if (extension == read) paths.push_back(In(dir, name));
    }
  }
  return paths;
}

}  // namespace linnet::worker
