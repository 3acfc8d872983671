#include "tools/linnet/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace linnet::cli {
namespace {

using nlohmann::ordered_json;

TEST(TableTest, ColumnsAreAsWideAsTheirLongestCell) {
  Table table({"NAME", "SIZE"});
  table.Add({"a-long-name", "1"});
  table.Add({"b", ""});
  EXPECT_EQ(table.Render(), "NAME         SIZE\na-long-name  1\nb            -\n");
}

TEST(TableTest, CountsCharactersNotBytes) {
  Table table({"A", "B"});
  table.Add({"日本", "x"});
  table.Add({"abc", "y"});
  EXPECT_EQ(table.Render(), "A    B\n日本   x\nabc  y\n");
}

TEST(TableTest, CellsCannotBreakOutOfTheirLineOrDriveTheTerminal) {
  Table table({"A", "B"});
  table.Add({"one\ntwo", "\x1b[31mred"});
  EXPECT_EQ(table.Render(), "A        B\none two  [31mred\n");
}

TEST(ForTerminalTest, KeepsTextAndDropsControls) {
  EXPECT_EQ(ForTerminal("tab\tline\n"), "tab\tline\n");
  EXPECT_EQ(ForTerminal("a\x1b]0;title\x07z\x7f"), "a]0;titlez");
  EXPECT_EQ(ForTerminal("\xC2\x9B"
                        "31m"),
            "31m");  // C1: CSI in one character
  EXPECT_EQ(ForTerminal("grün 日本 🙂"), "grün 日本 🙂");
}

TEST(ForTerminalTest, ReplacesBrokenUtf8) {
  EXPECT_EQ(ForTerminal("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(ForTerminal("\xE6\x97"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // cut short
  EXPECT_EQ(ForTerminal("\xC0\x9B"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // overlong escape character
  EXPECT_EQ(ForTerminal("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // surrogate
}

TEST(YamlTest, NestsObjectsAndLists) {
  const ordered_json json = {{"name", "m"},
                             {"sizes", {1, 2.5}},
                             {"empty", ordered_json::array()},
                             {"none", ordered_json::object()},
                             {"blobs", {{{"role", "main"}, {"tags", {"x"}}}, {{"role", "b"}}}},
                             {"deep", {{"a", {{"b", true}}}}},
                             {"nil", nullptr}};
  EXPECT_EQ(ToYaml(json),
            "name: m\n"
            "sizes:\n"
            "  - 1\n"
            "  - 2.5\n"
            "empty: []\n"
            "none: {}\n"
            "blobs:\n"
            "  - role: main\n"
            "    tags:\n"
            "      - x\n"
            "  - role: b\n"
            "deep:\n"
            "  a:\n"
            "    b: true\n"
            "nil: null\n");
}

TEST(YamlTest, QuotesWhatCouldBeReadAsSomethingElse) {
  for (const char* text : {"",    "true", "No",    "null", "~",  "12", "1e3",        "0x1F",
                           "- a", "a: b", "a #b",  "a:",   "a ", " a", "*x",         "&x",
                           "{a}", "[a]",  "\"q\"", "a\nb", "%x", "@x", "2026-11-23", ".inf"}) {
    const std::string yaml = ToYaml({{"k", text}});
    EXPECT_THAT(yaml, testing::StartsWith("k: \"")) << text;
    // What is quoted is a JSON string, which YAML reads the same way.
    EXPECT_EQ(ordered_json::parse(yaml.substr(3)).get<std::string>(), text);
  }
  for (const char* text : {"sha256:ab12", "models/m/variants/q4_1", "Apache-2.0", "hello world", "q4_k_m"}) {
    EXPECT_EQ(ToYaml({{"k", text}}), std::string("k: ") + text + "\n");
  }
}

TEST(LinesTest, ShowsAnObjectAsLabelledLines) {
  EXPECT_EQ(ToLines({{"a", 1}, {"b", {{"c", "x"}}}, {"d", {"x", 2}}, {"e", ""}}), "a: 1\nb:\n  c: x\nd: x 2\ne: -\n");
}

TEST(FiguresTest, ScaleWithUnits) {
  EXPECT_EQ(DecimalBytes(0), "0 B");
  EXPECT_EQ(DecimalBytes(98'362'432), "98.4 MB");
  EXPECT_EQ(Count(134'515'008), "135 M");
  EXPECT_EQ(Count(1'543'714'304), "1.5 B");
  EXPECT_EQ(Count(0), "-");
  EXPECT_EQ(Rate(0), "-");
  EXPECT_EQ(Rate(42.06), "42.1");
  EXPECT_EQ(ShortName("models/m/variants/q4_1"), "q4_1");
}

}  // namespace
}  // namespace linnet::cli
