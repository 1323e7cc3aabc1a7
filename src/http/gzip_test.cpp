#include "http/gzip.h"

#include <zlib.h>

#include <gtest/gtest.h>

namespace ghostip::http {
namespace {

TEST(Gzip, WhoAcceptsIt) {
    struct Case {
        const char* header;
        bool accepts;
    };
    for (const auto& c : {Case{"", false}, Case{"gzip", true}, Case{"GZIP", true}, Case{"deflate, gzip;q=0.5", true},
                          Case{"gzip;q=0", false}, Case{"gzip; q=0.000", false}, Case{"*", true}, Case{"*;q=0", false},
                          Case{"*, gzip;q=0", false}, Case{"*;q=0, gzip", true}, Case{"identity", false},
                          Case{"gzipped", false}, Case{",,;;,", false}, Case{"gzip;q=0.001", true}})
        EXPECT_EQ(accepts_gzip(c.header), c.accepts) << c.header;
}

std::string unpacked(const std::string& packed) {
    z_stream stream{};
    EXPECT_EQ(inflateInit2(&stream, MAX_WBITS + 16), Z_OK);
    std::string out(1 << 20, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    inflateEnd(&stream);
    return out;
}

TEST(Gzip, IsReadBack) {
    for (const std::string& text :
         {std::string(), std::string("a"), std::string(500'000, 'x'), std::string("\0\xff", 2)}) {
        const auto packed = gzip(text);
        ASSERT_TRUE(packed);
        EXPECT_EQ(unpacked(*packed), text);
    }
}

}  // namespace
}  // namespace ghostip::http
