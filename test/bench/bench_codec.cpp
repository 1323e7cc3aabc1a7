// How long decoding takes, and what memory it needs beyond what it decodes: bench_codec [services] [folder]
//
// Writes that many Services and as many EndpointSlices of 5 endpoints as one List, in JSON and in YAML, as kubectl
// would (with the fields that ghostip does not read), and decodes each in a process of its own. Then the slices again,
// as an API server lists them, in JSON and protobuf, in the pieces that libcurl hands on.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "api/decode.h"
#include "api/stream_testing.h"

namespace {

using namespace ghostip;

constexpr int kEndpoints = 5;

std::string metadata(std::string_view name, int i, std::string_view labels) {
    return fmt::format(
        R"("metadata":{{"name":"{}","namespace":"ns-{}","uid":"72966adb-d9f8-4e43-952d-{:012}","resourceVersion":"{}","creationTimestamp":"2026-11-23T01:49:41Z","labels":{{"app":"a{}"{}}}}})",
        name, i % 100, i, i, i, labels);
}

std::string service(int i) {
    const auto ip = fmt::format("10.{}.{}.{}", 100 + i / 65536, i / 256 % 256, i % 256);
    return fmt::format(
        R"({{"apiVersion":"v1","kind":"Service",{},"spec":{{"ports":[{{"name":"http","protocol":"TCP","port":80,"targetPort":8080}},{{"name":"dns","protocol":"UDP","port":53,"targetPort":53}}],"selector":{{"app":"a{}"}},"clusterIP":"{}","clusterIPs":["{}"],"type":"ClusterIP","sessionAffinity":"None","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","internalTrafficPolicy":"Cluster"}},"status":{{"loadBalancer":{{}}}}}})",
        metadata(fmt::format("svc-{}", i), i, ""), i, ip, ip);
}

std::string slice(int i) {
    std::string endpoints;
    for (int k = 0; k < kEndpoints; ++k) {
        const int n = i * kEndpoints + k;
        endpoints += fmt::format(
            R"({}{{"addresses":["10.{}.{}.{}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"nodeName":"node-{}","targetRef":{{"kind":"Pod","namespace":"ns-{}","name":"svc-{}-{}"}},"zone":"zone-a"}})",
            k == 0 ? "" : ",", n / 65536 % 256, n / 256 % 256, n % 256, n % 5000, i % 100, i, k);
    }
    return fmt::format(
        R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",{},"addressType":"IPv4","endpoints":[{}],"ports":[{{"name":"http","protocol":"TCP","port":8080}},{{"name":"dns","protocol":"UDP","port":53}}]}})",
        metadata(fmt::format("svc-{}-x", i), i, fmt::format(R"(,"kubernetes.io/service-name":"svc-{}")", i)),
        endpoints);
}

// The same JSON as block YAML, two spaces a level, below the dash of a list.
std::string yaml(const std::string& json) {
    std::string out;
    std::vector<char> stack;
    bool in_string = false;
    const auto line = [&] { out += '\n' + std::string(2 * stack.size(), ' '); };
    for (std::size_t i = 0; i < json.size(); ++i) {
        const char character = json[i];
        if (in_string) {
            out += character;
            in_string = character != '"';
        } else if ((character == '{' || character == '[') && json[i + 1] == character + 2) {
            out += json.substr(i++, 2);
        } else if (character == '{' || character == '[') {
            stack.push_back(character);
            // A mapping in a list begins behind its dash.
            if (character == '[') {
                line();
                out += "- ";
            } else if (stack.size() > 1 && !out.ends_with("- ")) {
                line();
            }
        } else if (character == ',') {
            line();
            if (stack.back() == '[') out += "- ";
        } else if (character == '}' || character == ']') {
            stack.pop_back();
        } else {
            out += character;
            if (character == ':') out += ' ';
            in_string = character == '"';
        }
    }
    return out + "\n";
}

class Keep : public api::DecodeSink {
  public:
    void object(api::Decoded decoded) override { objects.push_back(std::move(decoded.object)); }
    void problem(api::Problem problem) override {
        fmt::print("{}\n", problem.text());
        failed = true;
    }
    std::vector<api::Object> objects;
    bool failed = false;
};

class Drop : public Keep {
  public:
    void object(api::Decoded) override { ++count; }
    std::size_t count = 0;
};

double peak_mib() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024;
}

// In a child, so that each has its own peak.
bool measure(const std::filesystem::path& path, api::Format format, std::size_t expected, bool keep) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child != 0) {
        int status = 1;
        ::waitpid(child, &status, 0);
        return status == 0;
    }
    const double before = peak_mib();
    Keep kept;
    Drop dropped;
    api::DecodeSink& sink = keep ? static_cast<api::DecodeSink&>(kept) : dropped;
    api::FileReader reader(Fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)});
    const auto start = std::chrono::steady_clock::now();
    const bool parsed = api::decode(reader, format, path.native(), sink).has_value();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double mib = static_cast<double>(std::filesystem::file_size(path)) / 1048576;
    fmt::print("{} {}: {:.0f} MiB, {:.2f} s, {:.0f} MiB/s, peak {:.0f} MiB ({:.0f} before)\n",
               format == api::Format::kJson ? "json" : "yaml", keep ? "objects kept   " : "objects dropped", mib,
               seconds, mib / seconds, peak_mib(), before);
    std::fflush(stdout);
    std::_Exit(
        parsed && !kept.failed && !dropped.failed && (keep ? kept.objects.size() : dropped.count) == expected ? 0 : 1);
}

bool measure_list(api::Encoding encoding, int count) {
    constexpr std::size_t kPiece = 16384;
    class Count : public api::StreamSink {
      public:
        void received(api::Received received) override { good += received.object ? 1 : 0; }
        void problem(api::Problem problem) override { fmt::print("{}\n", problem.text()); }
        int good = 0;
    };
    const std::string body = api::testing::slice_list(encoding, count);
    Count sink;
    const auto list = api::ListDecoder::create(encoding, api::Kind::kEndpointSlice, sink);
    const auto start = std::chrono::steady_clock::now();
    bool good = true;
    for (std::size_t at = 0; at < body.size() && good; at += kPiece)
        good = list->feed(std::string_view(body).substr(at, kPiece)).has_value();
    good = good && list->finish() && sink.good == count;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fmt::print("list of slices, {}: {:.0f} MiB, {:.2f} s, {:.0f} slices/s\n",
               encoding == api::Encoding::kJson ? "json    " : "protobuf", static_cast<double>(body.size()) / 1048576,
               seconds, count / seconds);
    return good;
}

}  // namespace

int main(int argc, char** argv) {
    const int services = argc > 1 ? std::atoi(argv[1]) : 100'000;
    const std::filesystem::path folder = argc > 2 ? argv[2] : std::filesystem::temp_directory_path();
    bool good = true;
    for (const auto format : {api::Format::kJson, api::Format::kYaml}) {
        const bool json = format == api::Format::kJson;
        const auto path = folder / fmt::format("ghostip-bench-{}.{}", ::getpid(), json ? "json" : "yaml");
        {
            std::ofstream file(path);
            file << (json ? R"({"apiVersion":"v1","kind":"List","items":[)" : "apiVersion: v1\nkind: List\nitems:\n");
            for (int i = 0; i < services; ++i) {
                if (json)
                    file << (i == 0 ? "" : ",\n") << service(i) << ",\n" << slice(i);
                else
                    file << "- " << yaml(service(i)) << "- " << yaml(slice(i));
            }
            if (json) file << "]}\n";
        }
        for (const bool keep : {false, true})
            good = measure(path, format, static_cast<std::size_t>(services) * 2, keep) && good;
        std::filesystem::remove(path);
    }
    for (const auto encoding : {api::Encoding::kJson, api::Encoding::kProtobuf})
        good = measure_list(encoding, services) && good;
    return good ? 0 : 1;
}
