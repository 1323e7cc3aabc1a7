#include "agent/metrics_pages.h"

#include <array>
#include <charconv>
#include <limits>
#include <memory>
#include <random>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "agent/json_text.h"
#include "agent/slis.h"

namespace ghostip::agent {
namespace {

using http::Request;
using http::Response;

constexpr std::string_view kNotForPrograms =
    "Warning: this page is for people. Its form changes without notice; programs ask for JSON.";

Response text(std::string body) { return {200, std::move(body), {{"Content-Type", "text/plain; charset=utf-8"}}}; }

Response json(std::string body) { return {200, std::move(body), {{"Content-Type", "application/json"}}}; }

// --- /healthz ---

// `?verbose` lists the checks, `?exclude=ping` leaves one out.
Response healthz(const Request& request, Slis& slis) {
    const auto excluded = request.query.find("exclude");
    const bool without_ping = excluded != request.query.end() && excluded->second == "ping";
    if (!without_ping) slis.passed("ping", "healthz");
    Response answer = text("ok");
    if (request.query.contains("verbose"))
        answer.body = fmt::format("[+]ping {}\nhealthz check passed\n", without_ping ? "excluded: ok" : "ok");
    answer.headers.emplace_back("X-Content-Type-Options", "nosniff");
    return answer;
}

// --- /flagz and /statusz ---

// Kubernetes' pages vary the separator, so that nobody comes to rely on one.
std::string_view any_separator() {
    static constexpr std::array<std::string_view, 4> kSeparators{":", ": ", "=", " "};
    std::random_device device;
    return kSeparators[std::uniform_int_distribution<std::size_t>(0, kSeparators.size() - 1)(device)];
}

// Asked as `application/json;as=Flagz;v=v1beta1;g=config.k8s.io`; YAML is answered in the same text, which is YAML too.
enum class Form : std::uint8_t { kText, kJson, kYaml };

Form wanted_form(const Request& request, std::string_view kind) {
    const auto& accept = request.header("accept");
    if (accept.find(fmt::format("as={}", kind)) == std::string::npos) return Form::kText;
    if (accept.find("application/json") != std::string::npos) return Form::kJson;
    return accept.find("application/yaml") != std::string::npos ? Form::kYaml : Form::kText;
}

Response in_form(Form form, std::string body) {
    Response answer = json(std::move(body));
    if (form == Form::kYaml) answer.headers[0].second = "application/yaml";
    return answer;
}

std::string object_head(std::string_view kind, const std::string& name) {
    return fmt::format(R"("kind":"{}","apiVersion":"config.k8s.io/v1beta1","metadata":{{"name":{}}})", kind,
                       json_string(name));
}

Response flagz(const Request& request, const MetricsPages& pages, std::string_view separator) {
    const Form form = wanted_form(request, "Flagz");
    std::string lines;
    std::string fields;
    for (const auto& [name, value] : pages.flags) {
        lines += fmt::format("{}{}{}\n", name, separator, value);
        fields += fmt::format("{}{}:{}", fields.empty() ? "" : ",", json_string(name), json_string(value));
    }
    if (form == Form::kText) return text(fmt::format("\n{} flagz\n{}\n\n{}", pages.program, kNotForPrograms, lines));
    return in_form(form, fmt::format("{{{},\"flags\":{{{}}}}}", object_head("Flagz", pages.program), fields));
}

std::string duration_text(std::chrono::seconds duration) {
    const auto count = duration.count();
    return fmt::format("{} hr {:02} min {:02} sec", count / 3600, count / 60 % 60, count % 60);
}

Response statusz(const Request& request, const MetricsPages& pages, const std::vector<std::string>& paths) {
    const auto up = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now() - pages.started);
    const auto started = rfc3339(std::chrono::floor<std::chrono::seconds>(pages.started));
    const Form form = wanted_form(request, "Statusz");
    if (form == Form::kText)
        return text(fmt::format(
            "\n{} statusz\n{}\n\nStarted: {}\nUp: {}\nGo version: none, this is C++\n"
            "Binary version: {}\n\nPaths: {}\n",
            pages.program, kNotForPrograms, started, duration_text(up), pages.version, fmt::join(paths, " ")));
    std::string list;
    for (const auto& path : paths) list += (list.empty() ? "" : ",") + json_string(path);
    return in_form(form, fmt::format(R"({{{},"startTime":"{}","uptimeSeconds":{},"binaryVersion":{},"paths":[{}]}})",
                                     object_head("Statusz", pages.program), started, up.count(),
                                     json_string(pages.version), list));
}

// --- /debug/flags/v ---

Response set_verbosity(const Request& request, const MetricsPages& pages) {
    if (request.method != "PUT") return http::plain_error(406, "unsupported http method: use PUT");
    int verbosity = 0;
    const auto* const end = request.body.data() + request.body.size();
    const auto [rest, error] = std::from_chars(request.body.data(), end, verbosity);
    if (error != std::errc() || rest != end || verbosity < 0)
        return http::plain_error(
            400, fmt::format("verbosity: {}: must be a number from 0 to {}", json_string(request.body.substr(0, 40)),
                             std::numeric_limits<int>::max()));
    if (const auto result = pages.set_verbosity(verbosity); !result)
        return http::plain_error(400, result.error().message);
    return text(fmt::format("verbosity is now {}", verbosity));
}

}  // namespace

http::Routes metrics_pages(MetricsPages pages, const Metrics& metrics) {
    const auto all = std::make_shared<const MetricsPages>(std::move(pages));
    const auto slis = std::make_shared<Slis>();
    using http::Methods;
    http::Routes routes{
        {"/metrics", {[&metrics](const Request& /*request*/) { return metrics.metrics(); }, Methods::kAny}},
        {"/metrics/slis", {[slis](const Request& request) { return slis->page(request); }, Methods::kAny}},
        {"/healthz", {[slis](const Request& request) { return healthz(request, *slis); }, Methods::kAny}},
        {"/healthz/ping",
         {[slis](const Request& /*request*/) {
              slis->passed("ping", "healthz");
              return text("ok");
          },
          Methods::kAny}},
        {"/proxyMode",
         {[all](const Request& /*request*/) {
              Response answer = text(all->mode);
              answer.headers.emplace_back("X-Content-Type-Options", "nosniff");
              return answer;
          },
          Methods::kAny}},
    };
    if (!all->configz.empty())
        routes["/configz"] = {[all](const Request& /*request*/) { return json(all->configz); }, Methods::kAny};
    if (!all->flags.empty())
        routes["/flagz"] = {
            [all, separator = any_separator()](const Request& request) { return flagz(request, *all, separator); }};
    if (all->set_verbosity)
        routes["/debug/flags/v"] = {[all](const Request& request) { return set_verbosity(request, *all); },
                                    Methods::kAny};
    if (all->with_statusz) {
        std::vector<std::string> paths;
        for (const auto& [path, route] : routes) paths.push_back(path);
        routes["/statusz"] = {
            [all, paths = std::move(paths)](const Request& request) { return statusz(request, *all, paths); }};
    }
    return routes;
}

}  // namespace ghostip::agent
