#include "tools/linnet/proto_json.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <string>

#include "absl/time/time.h"

namespace linnet::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using nlohmann::ordered_json;

ordered_json MessageValue(const Message& message) {
  if (message.GetDescriptor() == google::protobuf::Timestamp::descriptor()) {
    const auto& t = static_cast<const google::protobuf::Timestamp&>(message);
    return absl::FormatTime(absl::RFC3339_full, absl::FromUnixSeconds(t.seconds()) + absl::Nanoseconds(t.nanos()),
                            absl::UTCTimeZone());
  }
  if (message.GetDescriptor() == google::protobuf::Duration::descriptor()) {
    const auto& d = static_cast<const google::protobuf::Duration&>(message);
    return static_cast<double>(d.seconds()) + d.nanos() * 1e-9;
  }
  return ToJson(message);
}

// One value of a field; index -1: the field is not repeated.
ordered_json FieldValue(const Message& m, const FieldDescriptor* f, int index) {
  const Reflection* r = m.GetReflection();
  const bool repeated = index >= 0;
  switch (f->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return repeated ? r->GetRepeatedInt32(m, f, index) : r->GetInt32(m, f);
    case FieldDescriptor::CPPTYPE_INT64:
      return repeated ? r->GetRepeatedInt64(m, f, index) : r->GetInt64(m, f);
    case FieldDescriptor::CPPTYPE_UINT32:
      return repeated ? r->GetRepeatedUInt32(m, f, index) : r->GetUInt32(m, f);
    case FieldDescriptor::CPPTYPE_UINT64:
      return repeated ? r->GetRepeatedUInt64(m, f, index) : r->GetUInt64(m, f);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return repeated ? r->GetRepeatedDouble(m, f, index) : r->GetDouble(m, f);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return repeated ? r->GetRepeatedFloat(m, f, index) : r->GetFloat(m, f);
    case FieldDescriptor::CPPTYPE_BOOL:
      return repeated ? r->GetRepeatedBool(m, f, index) : r->GetBool(m, f);
    case FieldDescriptor::CPPTYPE_ENUM:
      return (repeated ? r->GetRepeatedEnum(m, f, index) : r->GetEnum(m, f))->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return repeated ? r->GetRepeatedString(m, f, index) : r->GetString(m, f);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageValue(repeated ? r->GetRepeatedMessage(m, f, index) : r->GetMessage(m, f));
  }
  return nullptr;
}

// Map keys in order, so that the same data prints the same.
ordered_json MapValue(const Message& m, const FieldDescriptor* f) {
  const Reflection* r = m.GetReflection();
  std::map<std::string, ordered_json> entries;
  for (int i = 0; i < r->FieldSize(m, f); ++i) {
    const Message& entry = r->GetRepeatedMessage(m, f, i);
    const auto* key = entry.GetDescriptor()->map_key();
    entries[entry.GetReflection()->GetString(entry, key)] =
        FieldValue(entry, entry.GetDescriptor()->map_value(), -1);  // every map of ours has text keys
  }
  ordered_json result = ordered_json::object();
  for (auto& [key, value] : entries) result[key] = std::move(value);
  return result;
}

}  // namespace

ordered_json ToJson(const Message& message) {
  ordered_json result = ordered_json::object();
  const auto* descriptor = message.GetDescriptor();
  const Reflection* reflection = message.GetReflection();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->is_map()) {
      result[field->name()] = MapValue(message, field);
    } else if (field->is_repeated()) {
      ordered_json list = ordered_json::array();
      for (int k = 0; k < reflection->FieldSize(message, field); ++k) list.push_back(FieldValue(message, field, k));
      result[field->name()] = std::move(list);
    } else if (!field->has_presence() || reflection->HasField(message, field)) {
      result[field->name()] = FieldValue(message, field, -1);
    }
  }
  return result;
}

}  // namespace linnet::cli
