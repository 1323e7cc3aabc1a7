// What is wrong with the fields of a configuration, in Kubernetes' words: `PATH: Invalid value: VALUE: why`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ghostip::agent::config {

class FieldErrors {
  public:
    // `value` as JSON would have it: quoted text, a bare number.
    void invalid(std::string_view path, std::string_view value, std::string_view why);
    void forbidden(std::string_view path, std::string_view why);
    void required(std::string_view path, std::string_view why);
    void unsupported(std::string_view path, std::string_view value, const std::vector<std::string>& known);

    [[nodiscard]] const std::vector<std::string>& all() const { return errors_; }
    [[nodiscard]] bool empty() const { return errors_.empty(); }
    // `e`, or `[e1, e2]`.
    [[nodiscard]] std::string text() const;

  private:
    // What was said before is not said again.
    void add(std::string error);

    std::vector<std::string> errors_;
};

}  // namespace ghostip::agent::config
