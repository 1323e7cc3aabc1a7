// As much of HTTP/2's server side as tests need, over a TestConnection: frames out, headers in left unread (a stream is
// told by its number).
#pragma once

#include <functional>
#include <string>

#include "source/kubernetes/server_testing.h"

namespace ghostip::source::kubernetes {

class TestHttp2 {
  public:
    enum Frame : unsigned char { kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPing = 6, kGoaway = 7 };
    static constexpr unsigned char kEndStream = 1;
    static constexpr unsigned char kAck = 1;
    static constexpr unsigned char kEndHeaders = 4;

    explicit TestHttp2(TestConnection& connection) : connection_(connection) {}

    // Until the client goes away. Called with each stream that is opened.
    void serve(const std::function<void(unsigned stream)>& on_stream) {
        std::string preface;
        if (!connection_.read_exactly(24, preface)) return;
        send(kSettings, 0, 0, "");
        while (true) {
            std::string head;
            std::string payload;
            if (!connection_.read_exactly(9, head) || !connection_.read_exactly(number(head.substr(0, 3)), payload))
                return;
            const auto type = static_cast<unsigned char>(head[3]);
            const auto flags = static_cast<unsigned char>(head[4]);
            if (type == kSettings && (flags & kAck) == 0) send(kSettings, kAck, 0, "");
            if (type == kPing && (flags & kAck) == 0) send(kPing, kAck, 0, payload);
            if (type == kHeaders) on_stream(number(head.substr(5)));
        }
    }

    // Status 200, in HPACK's static table.
    void open(unsigned stream) { send(kHeaders, kEndHeaders, stream, "\x88"); }
    void data(unsigned stream, std::string_view bytes, unsigned char flags = 0) { send(kData, flags, stream, bytes); }
    void send(Frame type, unsigned char flags, unsigned stream, std::string_view payload) {
        std::string frame = bytes(static_cast<unsigned>(payload.size()), 3);
        frame += static_cast<char>(type);
        frame += static_cast<char>(flags);
        frame += bytes(stream, 4);
        frame += payload;
        connection_.write(frame);
    }
    static std::string bytes(unsigned value, int count) {
        std::string result;
        while (count-- > 0) result += static_cast<char>(value >> static_cast<unsigned>(8 * count) & 0xffU);
        return result;
    }

  private:
    static unsigned number(std::string_view text) {
        unsigned value = 0;
        for (const char byte : text) value = value << 8U | static_cast<unsigned char>(byte);
        return value;
    }

    TestConnection& connection_;
};

}  // namespace ghostip::source::kubernetes
