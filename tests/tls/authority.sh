# shellcheck shell=bash
# Sourced, not run: certificates for the trials of TLS, made by openssl(1) in a folder of their own.
#
#   authority_make FOLDER   writes there, each with a `.key` beside its `.pem`:
#     ca          the authority that clients are told to trust, and that signs the others
#     gateway     of localhost, 127.0.0.1 and *.gateway.test, by ECDSA P-256
#     other       of other.test, by RSA 2048
#     client      of a client
#     expired     of a client, no longer valid
#     foreign     of a client, signed by an authority that nobody knows

authority_say() { printf 'authority: %s\n' "$*" >&2; }

authority_request() {
    local folder=$1 name=$2 subject=$3 kind=(ec -pkeyopt ec_paramgen_curve:P-256)
    [[ $name != other ]] || kind=(rsa:2048)
    openssl req -new -newkey "${kind[@]}" -nodes -sha256 -subj "/CN=$subject" \
        -keyout "$folder/$name.key" -out "$folder/$name.csr" 2>>"$folder/log"
}

# With the lines of an extension file behind its three names.
authority_sign() {
    local folder=$1 name=$2 by=$3
    shift 3
    printf '%s\n' 'basicConstraints = critical,CA:FALSE' 'keyUsage = critical,digitalSignature' \
        'subjectKeyIdentifier = hash' 'authorityKeyIdentifier = keyid' "$@" >"$folder/$name.cnf"
    # As long as the field's profiles want it at most.
    openssl x509 -req -in "$folder/$name.csr" -CA "$folder/$by.pem" -CAkey "$folder/$by.key" \
        -CAcreateserial -days 90 -sha256 -extfile "$folder/$name.cnf" \
        -out "$folder/$name.pem" 2>>"$folder/log"
}

authority_found() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 365 \
        -subj "/CN=$3" -addext 'basicConstraints = critical,CA:TRUE' \
        -addext 'keyUsage = critical,keyCertSign,cRLSign' \
        -keyout "$1/$2.key" -out "$1/$2.pem" 2>>"$1/log"
}

# Days are counted from now on alone by `x509`; `ca` takes dates.
authority_expire() {
    local folder=$1
    mkdir -p "$folder/issued" && : >"$folder/index.txt" && echo 0f >"$folder/serial"
    printf '%s\n' '[ca]' 'default_ca = it' '[it]' "new_certs_dir = $folder/issued" \
        "database = $folder/index.txt" "serial = $folder/serial" 'default_md = sha256' \
        'policy = any' 'x509_extensions = client' '[any]' 'commonName = supplied' '[client]' \
        'basicConstraints = critical,CA:FALSE' 'extendedKeyUsage = clientAuth' >"$folder/ca.cnf"
    openssl ca -batch -notext -config "$folder/ca.cnf" -cert "$folder/ca.pem" \
        -keyfile "$folder/ca.key" -startdate 20200101000000Z -enddate 20200401000000Z \
        -in "$folder/expired.csr" -out "$folder/expired.pem" 2>>"$folder/log"
}

authority_make() {
    local folder=$1 name
    authority_found "$folder" ca 'Tidegate trial authority' &&
        authority_found "$folder" stranger 'Unknown authority' || return 1
    for name in gateway other client expired foreign; do
        authority_request "$folder" "$name" "$name.test" || return 1
    done
    authority_sign "$folder" gateway ca 'extendedKeyUsage = serverAuth' \
        'subjectAltName = DNS:localhost,IP:127.0.0.1,DNS:*.gateway.test' &&
        authority_sign "$folder" other ca 'extendedKeyUsage = serverAuth' \
            'subjectAltName = DNS:other.test' &&
        authority_sign "$folder" client ca 'extendedKeyUsage = clientAuth' &&
        authority_sign "$folder" foreign stranger 'extendedKeyUsage = clientAuth' &&
        authority_expire "$folder" || {
        authority_say "openssl failed:"
        tail -n 15 "$folder/log" >&2
        return 1
    }
}
