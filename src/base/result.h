// Errors are values that nobody can drop.
//
// A function that can fail returns Result<T>; one that returns nothing but can fail returns Result<void>. The member
// names are those of std::expected, so that Result can become an alias of it once the compiler has it.
//
//     Result<Fd> open_log(const std::string& path) {
//         Fd fd{::open(path.c_str(), O_WRONLY)};
//         if (!fd) return fail_errno("open {}", path);         // "open /x: No such file or directory"
//         RETURN_IF_ERROR(write_header(fd));                   // passes the error on
//         ASSIGN_OR_RETURN(auto size, file_size(fd));          // declares size, or passes the error on
//         return fd;
//     }
//
// There are only statement macros: an expression macro leaks in aggregate initialisers on the compilers in use.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace ghostip {

// What went wrong, in words that name the object, the field and the value. `code` is an errno value where the kernel
// or libc gave one, else 0.
struct Error {
    std::string message;
    int code = 0;

    // The same error with what was being done in front of it.
    [[nodiscard]] Error within(std::string_view context) const {
        return {fmt::format("{}: {}", context, message), code};
    }
};

template <typename T>
class [[nodiscard]] Result {
  public:
    using value_type = T;
    // Implicit on purpose: `return value;` and `return fail(...)` both read well.
    // NOLINTBEGIN(google-explicit-constructor)
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
    // NOLINTEND(google-explicit-constructor)

    [[nodiscard]] bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }

    [[nodiscard]] T& value() & { return std::get<0>(state_); }
    [[nodiscard]] const T& value() const& { return std::get<0>(state_); }
    [[nodiscard]] T&& value() && { return std::get<0>(std::move(state_)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    [[nodiscard]] const Error& error() const& { return std::get<1>(state_); }
    [[nodiscard]] Error&& error() && { return std::get<1>(std::move(state_)); }

    [[nodiscard]] T value_or(T fallback) const& { return has_value() ? value() : std::move(fallback); }

  private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    using value_type = void;
    Result() = default;
    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(Error error) : error_(std::move(error)), failed_(true) {}

    [[nodiscard]] bool has_value() const { return !failed_; }
    explicit operator bool() const { return has_value(); }
    [[nodiscard]] const Error& error() const& { return error_; }
    [[nodiscard]] Error&& error() && { return std::move(error_); }

  private:
    Error error_;
    bool failed_ = false;
};

template <typename... Args>
[[nodiscard]] Error fail(fmt::format_string<Args...> format, Args&&... args) {
    return {fmt::format(format, std::forward<Args>(args)...), 0};
}

// The text of an errno value, thread-safe.
[[nodiscard]] std::string errno_text(int code);

// `message: <text of code>`.
[[nodiscard]] Error errno_error(int code, std::string message);

template <typename... Args>
[[nodiscard]] Error fail_errno(fmt::format_string<Args...> format, Args&&... args) {
    const int code = errno;
    return errno_error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ghostip

#define GHOSTIP_CONCAT_(a, b) a##b
#define GHOSTIP_CONCAT(a, b) GHOSTIP_CONCAT_(a, b)

#define RETURN_IF_ERROR(expression)                                                                           \
    do {                                                                                                      \
        if (auto ghostip_result_ = (expression); !ghostip_result_) return std::move(ghostip_result_).error(); \
    } while (false)

#define ASSIGN_OR_RETURN_(result, declaration, expression) \
    auto result = (expression);                            \
    if (!result) return std::move(result).error();         \
    declaration = std::move(result).value()

#define ASSIGN_OR_RETURN(declaration, expression) \
    ASSIGN_OR_RETURN_(GHOSTIP_CONCAT(ghostip_result_, __LINE__), declaration, expression)
