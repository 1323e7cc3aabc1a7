// A server on loopback that does, connection by connection, what a test's function says; plain or with TLS. A thread
// for each connection; all end with the server, which closes what is still open.
#pragma once

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/net_socket.h"
#include "source/kubernetes/certificates_testing.h"

namespace ghostip::source::kubernetes {

struct TestTls {
    ClientCertificate identity;
    std::string client_authority = {};   // PEM: clients must have a certificate from it
    std::vector<std::string> alpn = {};  // taken in this order; empty: none
};

class TestConnection {
  public:
    explicit TestConnection(Fd socket) : socket_(std::move(socket)) {}
    TestConnection(const TestConnection&) = delete;
    TestConnection& operator=(const TestConnection&) = delete;
    ~TestConnection() {
        if (ssl_ != nullptr) SSL_free(ssl_);
    }

    bool accept_tls(SSL_CTX* context) {
        ssl_ = SSL_new(context);
        SSL_set_fd(ssl_, socket_.get());
        return SSL_accept(ssl_) == 1;
    }
    [[nodiscard]] std::string alpn() const {
        const unsigned char* name = nullptr;
        unsigned size = 0;
        if (ssl_ != nullptr) SSL_get0_alpn_selected(ssl_, &name, &size);
        return {reinterpret_cast<const char*>(name), size};
    }
    [[nodiscard]] std::string server_name() const {
        const char* name = ssl_ != nullptr ? SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name) : nullptr;
        return name != nullptr ? name : "";
    }

    // Up to `most` bytes; empty: the other side is gone.
    std::string read_some(std::size_t most = 65536) {
        std::string bytes(most, '\0');
        const auto size = ssl_ != nullptr ? SSL_read(ssl_, bytes.data(), static_cast<int>(most))
                                          : static_cast<int>(::recv(socket_.get(), bytes.data(), most, 0));
        bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
        return bytes;
    }
    bool read_exactly(std::size_t size, std::string& bytes) {
        while (buffer_.size() < size) {
            const std::string more = read_some();
            if (more.empty()) return false;
            buffer_ += more;
        }
        bytes = buffer_.substr(0, size);
        buffer_.erase(0, size);
        return true;
    }
    // Head and body of the next HTTP/1 request; empty: there is none.
    std::string read_request() {
        std::size_t end = 0;
        while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
            const std::string more = read_some();
            if (more.empty()) return {};
            buffer_ += more;
        }
        const std::size_t length_at = buffer_.find("Content-Length: ");
        const std::size_t body = length_at < end ? std::stoul(buffer_.substr(length_at + 16)) : 0;
        std::string request;
        return read_exactly(end + 4 + body, request) ? request : std::string();
    }
    bool write(std::string_view bytes) {
        while (!bytes.empty()) {
            const auto size = ssl_ != nullptr
                                  ? SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()))
                                  : static_cast<int>(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
            if (size <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(size));
        }
        return true;
    }
    // A whole HTTP/1.1 answer.
    bool answer(std::string_view status, std::string_view headers, std::string_view body) {
        return write(fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(), headers, body));
    }
    // Until the other side closes, or the server ends.
    void wait_closed() {
        while (!read_some().empty()) {
        }
    }
    // After a handshake that failed: lets the other side read the alert before it meets a reset.
    void linger_raw() {
        ::shutdown(socket_.get(), SHUT_WR);
        std::string bytes(4096, '\0');
        while (::recv(socket_.get(), bytes.data(), bytes.size(), 0) > 0) {
        }
    }
    // The end sends RST.
    void reset_on_close() {
        const linger now{1, 0};
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
        resets_ = true;
    }
    [[nodiscard]] bool resets() const { return resets_; }
    void shut_down() { ::shutdown(socket_.get(), SHUT_RDWR); }
    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    const Fd socket_;
    SSL* ssl_ = nullptr;
    std::string buffer_;
    bool resets_ = false;
};

class TestServer {
  public:
    using Serve = std::function<void(TestConnection&)>;

    explicit TestServer(Serve serve, const std::optional<TestTls>& tls = std::nullopt) : serve_(std::move(serve)) {
        ::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
        auto listener = listen_tcp("127.0.0.1", 0);
        EXPECT_TRUE(listener) << listener.error().message;
        if (!listener) return;
        listener_ = std::move(*listener);
        if (tls) make_context(*tls);
        thread_ = std::thread([this] { accept_all(); });
    }
    TestServer(const TestServer&) = delete;
    TestServer& operator=(const TestServer&) = delete;
    ~TestServer() {
        stopping_ = true;
        ::shutdown(listener_.socket.get(), SHUT_RDWR);
        if (thread_.joinable()) thread_.join();
        {
            const std::lock_guard lock(mutex_);
            for (TestConnection* connection : open_) connection->shut_down();
        }
        for (auto& worker : workers_) worker.join();
        if (context_ != nullptr) SSL_CTX_free(context_);
    }

    [[nodiscard]] std::uint16_t port() const { return listener_.port; }
    [[nodiscard]] std::string url() const {
        return fmt::format("{}://127.0.0.1:{}", context_ != nullptr ? "https" : "http", port());
    }
    [[nodiscard]] int connections() const { return connections_; }
    // What a test's function wrote down.
    void note(std::string line) {
        const std::lock_guard lock(mutex_);
        notes_.push_back(std::move(line));
    }
    [[nodiscard]] std::vector<std::string> notes() const {
        const std::lock_guard lock(mutex_);
        return notes_;
    }

  private:
    void make_context(const TestTls& tls) {
        context_ = SSL_CTX_new(TLS_server_method());
        const auto text = [](const std::string& pem) {
            return OpensslText(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
        };
        const OpensslCertificate certificate(
            PEM_read_bio_X509(text(tls.identity.certificate).get(), nullptr, nullptr, nullptr));
        const OpensslKey key(PEM_read_bio_PrivateKey(text(tls.identity.key).get(), nullptr, nullptr, nullptr));
        openssl_must(SSL_CTX_use_certificate(context_, certificate.get()) == 1, "certificate");
        openssl_must(SSL_CTX_use_PrivateKey(context_, key.get()) == 1, "key");
        if (!tls.client_authority.empty()) {
            const OpensslCertificate authority(
                PEM_read_bio_X509(text(tls.client_authority).get(), nullptr, nullptr, nullptr));
            X509_STORE_add_cert(SSL_CTX_get_cert_store(context_), authority.get());
            SSL_CTX_set_verify(context_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
        }
        for (const auto& name : tls.alpn) (alpn_ += static_cast<char>(name.size())) += name;
        if (!alpn_.empty()) SSL_CTX_set_alpn_select_cb(context_, &TestServer::select_alpn, this);
    }
    static int select_alpn(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
                           const unsigned char* offered, unsigned offered_size, void* self) {
        const auto& ours = static_cast<TestServer*>(self)->alpn_;
        const int found = SSL_select_next_proto(const_cast<unsigned char**>(out), out_size,
                                                reinterpret_cast<const unsigned char*>(ours.data()),
                                                static_cast<unsigned>(ours.size()), offered, offered_size);
        return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
    }

    void accept_all() {
        while (!stopping_) {
            Fd socket{::accept4(listener_.socket.get(), nullptr, nullptr, SOCK_CLOEXEC)};
            if (!socket) {
                // The listener may not block.
                pollfd ready{listener_.socket.get(), POLLIN, 0};
                ::poll(&ready, 1, 1000);
                continue;
            }
            ++connections_;
            workers_.emplace_back([this, held = std::make_shared<TestConnection>(std::move(socket))] { serve(*held); });
        }
    }
    void serve(TestConnection& connection) {
        {
            const std::lock_guard lock(mutex_);
            open_.push_back(&connection);
        }
        if (context_ == nullptr || connection.accept_tls(context_))
            serve_(connection);
        else
            connection.linger_raw();
        if (!connection.resets()) connection.shut_down();
        const std::lock_guard lock(mutex_);
        open_.remove(&connection);
    }

    const Serve serve_;
    Listener listener_;
    SSL_CTX* context_ = nullptr;
    std::string alpn_;
    std::atomic<bool> stopping_ = false;
    std::atomic<int> connections_ = 0;
    std::thread thread_;
    std::vector<std::thread> workers_;  // of thread_, then of the destructor
    mutable std::mutex mutex_;
    std::list<TestConnection*> open_;  // guarded by mutex_
    std::vector<std::string> notes_;   // guarded by mutex_
};

}  // namespace ghostip::source::kubernetes
