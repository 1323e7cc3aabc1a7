// Writes JSON, indented, in the order of the calls. For output only; reading is src/api's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ghostip::cli {

class JsonText {
  public:
    void begin_object() { open('{'); }
    void end_object() { close('}'); }
    void begin_array() { open('['); }
    void end_array() { close(']'); }
    void key(std::string_view name);
    void field(std::string_view name, std::string_view value);
    void number(std::string_view name, double value);
    void boolean(std::string_view name, bool value);
    void item(std::string_view text);  // of an array
    [[nodiscard]] const std::string& text() const { return text_; }

  private:
    void open(char bracket);
    void close(char bracket);
    void separate();
    void quote(std::string_view text);

    std::string text_;
    std::vector<bool> has_members_;  // by depth
    bool after_key_ = false;
};

}  // namespace ghostip::cli
