// The `user` of a kubeconfig: who we are.
#pragma once

#include "api/codec/field.h"
#include "source/kubernetes/client_config.h"
#include "source/kubernetes/kubeconfig.h"

namespace ghostip::source::kubernetes {

// What reading the parts of one kubeconfig shares.
struct KubeconfigFiles {
    std::string folder;  // of the kubeconfig
    const ReadFile& read;

    // Relative names begin at the folder.
    [[nodiscard]] std::string resolve(std::string_view name) const;
};

[[nodiscard]] std::string text_of(const api::codec::Field& field);

// `<name>` and `<name>-data`. Reports what cannot be read, is no base64, or holds no PEM block of this kind.
[[nodiscard]] FileOrData read_pem(const api::codec::Field& parent, std::string_view name, std::string_view pem_kind,
                                  const KubeconfigFiles& files);

// Fills what is about the user. All errors are reported through the field.
void read_user(const api::codec::Field& user, const KubeconfigFiles& files, ClientConfig& config);

}  // namespace ghostip::source::kubernetes
