#include "worker/text/template_builtins.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <iomanip>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace linnet::worker {
namespace {

using minja::ArgumentsValue;
using minja::Value;
using nlohmann::ordered_json;

// A filter or function of between `least` and `most` arguments, some of which may be named.
template <class F>
Value Function(const char* name, size_t least, size_t most, F f) {
  return Value::callable([=](const std::shared_ptr<minja::Context>&, ArgumentsValue& args) {
    args.expectArgs(name, {least, most}, {0, most - least});
    return Value(f(args));
  });
}

void AppendLine(int indent, int level, std::string& out) {
  out += '\n';
  out.append(static_cast<size_t>(indent) * static_cast<size_t>(level), ' ');
}

struct JsonStyle {
  int indent = -1;  // < 0: on one line
  std::string item_separator = ", ", key_separator = ": ";
};

// As Python's json.dumps writes it.
void AppendJson(const ordered_json& value, const JsonStyle& style, int level, std::string& out) {
  if (!value.is_structured()) {
    out += value.dump();
    return;
  }
  const bool object = value.is_object();
  out += object ? '{' : '[';
  bool first = true;
  for (const auto& [key, member] : value.items()) {
    if (!first) out += style.item_separator;
    first = false;
    if (style.indent >= 0) AppendLine(style.indent, level + 1, out);
    if (object) out += ordered_json(key).dump() + style.key_separator;
    AppendJson(member, style, level + 1, out);
  }
  if (style.indent >= 0 && !first) AppendLine(style.indent, level, out);
  out += object ? '}' : ']';
}

// Members sorted by name, at every level.
ordered_json Sorted(const ordered_json& value) {
  if (value.is_object()) {
    std::vector<std::pair<std::string, ordered_json>> members;
    for (const auto& [key, member] : value.items()) members.emplace_back(key, Sorted(member));
    std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    ordered_json sorted = ordered_json::object();
    for (auto& [key, member] : members) sorted[key] = std::move(member);
    return sorted;
  }
  ordered_json copy = value;
  if (value.is_array()) {
    for (ordered_json& element : copy) element = Sorted(element);
  }
  return copy;
}

// Transformers' tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False).
Value ToJson() {
  return Value::callable([](const std::shared_ptr<minja::Context>&, ArgumentsValue& args) {
    args.expectArgs("tojson", {1, 2}, {0, 4});
    JsonStyle style;
    const Value indent = args.args.size() > 1 ? args.args[1] : args.get_named("indent");
    if (!indent.is_null()) {
      style.indent = std::clamp(indent.get<int>(), 0, 64);
      style.item_separator = ",";
    }
    Value separators = args.get_named("separators");
    if (separators.is_array() && separators.size() == 2) {
      style.item_separator = separators.at(size_t{0}).get<std::string>();
      style.key_separator = separators.at(size_t{1}).get<std::string>();
    }
    ordered_json value = args.args[0].get<ordered_json>();
    if (args.get_named("sort_keys").to_bool()) value = Sorted(value);
    std::string out;
    AppendJson(value, style, 0, out);
    return Value(out);
  });
}

// Jinja's test of that name.
bool Test(const std::string& name, const Value& x, const Value& y) {
  if (name == "eq" || name == "equalto" || name == "==") return x == y;
  if (name == "ne" || name == "!=") return !(x == y);
  if (name == "lt" || name == "lessthan" || name == "<") return x < y;
  if (name == "gt" || name == "greaterthan" || name == ">") return x > y;
  if (name == "le" || name == "<=") return !(x > y);
  if (name == "ge" || name == ">=") return !(x < y);
  if (name == "in") return y.is_string() ? y.to_str().find(x.to_str()) != std::string::npos : y.contains(x);
  if (name == "defined") return !x.is_null();
  if (name == "undefined" || name == "none") return x.is_null();
  if (name == "string") return x.is_string();
  if (name == "number") return x.is_number();
  if (name == "integer") return x.is_number_integer();
  if (name == "float") return x.is_number_float();
  if (name == "boolean") return x.is_boolean();
  if (name == "mapping") return x.is_object();
  if (name == "sequence" || name == "iterable") return x.is_iterable();
  if (name == "true") return x.is_boolean() && x.to_bool();
  if (name == "false") return x.is_boolean() && !x.to_bool();
  throw std::runtime_error("Undefined test: '" + name + "'");
}

// select, reject (`by_attribute` false: items|select(test, y)), selectattr, rejectattr (items|selectattr(name, test,
// y)).
Value Select(const char* name, bool by_attribute, bool wanted) {
  const size_t test_at = by_attribute ? 2 : 1;
  return Function(name, test_at, test_at + 2, [=](ArgumentsValue& args) {
    Value kept = Value::array();
    Value items = args.args[0];
    if (items.is_null()) return kept;
    if (!items.is_array()) throw std::runtime_error("object is not iterable: " + items.dump());
    for (size_t i = 0; i < items.size(); ++i) {
      Value item = items.at(i);
      const Value x = by_attribute ? item.get(args.args[1]) : item;
      const bool passes = args.args.size() <= test_at
                              ? x.to_bool()
                              : Test(args.args[test_at].get<std::string>(), x,
                                     args.args.size() > test_at + 1 ? args.args[test_at + 1] : Value());
      if (passes == wanted) kept.push_back(item);
    }
    return kept;
  });
}

// Words begin behind spaces, hyphens and opening brackets.
std::string Title(std::string text) {
  bool begins = true;
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    c = static_cast<char>(begins ? std::toupper(byte) : std::tolower(byte));
    begins = std::isspace(byte) || std::string_view("-({[<").find(c) != std::string_view::npos;
  }
  return text;
}

std::string Capitalize(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

std::string Replace(const std::string& text, const std::string& from, const std::string& to) {
  if (from.empty()) return text;
  std::string out;
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string::npos; done = at + from.size()) {
    out.append(text, done, at - done).append(to);
  }
  return out.append(text, done);
}

Value Reverse(Value items) {
  if (items.is_string()) {
    const std::string text = items.get<std::string>();
    return Value(std::string(text.rbegin(), text.rend()));
  }
  Value reversed = Value::array();
  for (size_t i = items.size(); i-- > 0;) reversed.push_back(items.at(i));
  return reversed;
}

std::string StrftimeNow(const std::string& format) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm local{};
  localtime_r(&now, &local);
  std::ostringstream out;
  out << std::put_time(&local, format.c_str());
  return out.str();
}

}  // namespace

void SetTemplateBuiltins(Value& values) {
  const auto text = [](ArgumentsValue& args, size_t i) { return args.args[i].to_str(); };
  values.set("tojson", ToJson());
  values.set("select", Select("select", false, true));
  values.set("reject", Select("reject", false, false));
  values.set("selectattr", Select("selectattr", true, true));
  values.set("rejectattr", Select("rejectattr", true, false));
  values.set("capitalize",
             Function("capitalize", 1, 1, [=](ArgumentsValue& args) { return Capitalize(text(args, 0)); }));
  // What is undefined is an empty text to Jinja's filter.
  values.set("trim", Function("trim", 1, 1, [=](ArgumentsValue& args) {
               return args.args[0].is_null() ? std::string() : minja::strip(text(args, 0));
             }));
  values.set("title", Function("title", 1, 1, [=](ArgumentsValue& args) { return Title(text(args, 0)); }));
  values.set("replace", Function("replace", 3, 3, [=](ArgumentsValue& args) {
               return Replace(text(args, 0), text(args, 1), text(args, 2));
             }));
  values.set("first", Function("first", 1, 1, [](ArgumentsValue& args) {
               return args.args[0].size() == 0 ? Value() : args.args[0].at(size_t{0});
             }));
  values.set("reverse", Function("reverse", 1, 1, [](ArgumentsValue& args) { return Reverse(args.args[0]); }));
  values.set("float", Function("float", 1, 1, [](ArgumentsValue& args) {
               return std::strtod(args.args[0].to_str().c_str(), nullptr);
             }));
  values.set("abs", Function("abs", 1, 1, [](ArgumentsValue& args) -> Value {
               if (args.args[0].is_number_integer()) return Value(std::abs(args.args[0].get<int64_t>()));
               return Value(std::abs(args.args[0].get<double>()));
             }));
  values.set("strftime_now",
             Function("strftime_now", 1, 1, [=](ArgumentsValue& args) { return StrftimeNow(text(args, 0)); }));
}

}  // namespace linnet::worker
