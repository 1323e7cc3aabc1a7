// Certificates made on the spot, for tests that speak TLS. A failure of OpenSSL ends the test program.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "source/kubernetes/exec_credential.h"

namespace ghostip::source::kubernetes {

template <auto Free>
struct OpensslDeleter {
    template <typename T>
    void operator()(T* object) const {
        Free(object);
    }
};
using OpensslKey = std::unique_ptr<EVP_PKEY, OpensslDeleter<EVP_PKEY_free>>;
using OpensslCertificate = std::unique_ptr<X509, OpensslDeleter<X509_free>>;
using OpensslText = std::unique_ptr<BIO, OpensslDeleter<BIO_free_all>>;

inline void openssl_must(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "OpenSSL: %s failed\n", what);
    std::abort();
}

class TestAuthority {
  public:
    explicit TestAuthority(const std::string& name) : key_(new_key()) {
        certificate_ = sign(name, "critical,CA:TRUE", "", key_.get());
    }

    [[nodiscard]] std::string pem() const { return text(certificate_.get()); }
    // `names`: `DNS:api.example,IP:127.0.0.1`.
    [[nodiscard]] ClientCertificate issue(const std::string& name, const std::string& names) const {
        const OpensslKey key = new_key();
        const OpensslCertificate certificate = sign(name, "CA:FALSE", names, key.get());
        const OpensslText key_text(BIO_new(BIO_s_mem()));
        openssl_must(PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1,
                     "PEM");
        return {text(certificate.get()), content(key_text.get())};
    }

  private:
    static OpensslKey new_key() {
        OpensslKey key(EVP_EC_gen("P-256"));
        openssl_must(key != nullptr, "a key");
        return key;
    }

    // By this authority, or by itself while there is none.
    [[nodiscard]] OpensslCertificate sign(const std::string& name, const std::string& constraints,
                                          const std::string& names, EVP_PKEY* subject_key) const {
        static long serial = 1;
        OpensslCertificate certificate(X509_new());
        X509* raw = certificate.get();
        X509_set_version(raw, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(raw), ++serial);
        X509_gmtime_adj(X509_getm_notBefore(raw), -3600);
        X509_gmtime_adj(X509_getm_notAfter(raw), 3600);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(raw), "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
        X509* issuer = certificate_ ? certificate_.get() : raw;
        X509_set_issuer_name(raw, X509_get_subject_name(issuer));
        X509_set_pubkey(raw, subject_key);
        X509V3_CTX context;
        X509V3_set_ctx_nodb(&context);
        X509V3_set_ctx(&context, issuer, raw, nullptr, nullptr, 0);
        add_extension(raw, context, NID_basic_constraints, constraints);
        if (!names.empty()) add_extension(raw, context, NID_subject_alt_name, names);
        openssl_must(X509_sign(raw, key_.get(), EVP_sha256()) > 0, "signing");
        return certificate;
    }

    static void add_extension(X509* certificate, X509V3_CTX& context, int kind, const std::string& value) {
        X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
        openssl_must(extension != nullptr, value.c_str());
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }

    static std::string content(BIO* bio) {
        char* data = nullptr;
        const long size = BIO_get_mem_data(bio, &data);
        return {data, static_cast<std::size_t>(size)};
    }
    static std::string text(X509* certificate) {
        const OpensslText bio(BIO_new(BIO_s_mem()));
        openssl_must(PEM_write_bio_X509(bio.get(), certificate) == 1, "PEM");
        return content(bio.get());
    }

    OpensslKey key_;
    OpensslCertificate certificate_;
};

}  // namespace ghostip::source::kubernetes
