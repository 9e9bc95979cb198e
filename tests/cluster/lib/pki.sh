# shellcheck shell=bash
# Certificates and kubeconfig files. Everything is made once and kept.

PKI_DAYS=3650

# pki_key FILE: an EC P-256 key.
pki_key() { (umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out "$1"); }

# pki_ca DIR NAME
pki_ca() {
  local dir=$1 name=$2
  [[ -s $dir/$name.crt ]] && return
  mkdir -p "$dir"
  pki_key "$dir/$name.key"
  openssl req -x509 -new -key "$dir/$name.key" -subj "/CN=wsc-test-$name" -days "$PKI_DAYS" -out "$dir/$name.crt.new" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  mv "$dir/$name.crt.new" "$dir/$name.crt"
}

# pki_cert DIR CA NAME SUBJECT [ALTERNATIVE_NAMES]: a certificate for clients and, with alternative
# names ("DNS:a,IP:1.2.3.4"), for servers.
pki_cert() {
  local dir=$1 ca=$2 name=$3 subject=$4 names=${5:-}
  [[ -s $dir/$name.crt ]] && return
  pki_key "$dir/$name.key"
  openssl req -new -key "$dir/$name.key" -subj "$subject" |
    openssl x509 -req -CA "$dir/$ca.crt" -CAkey "$dir/$ca.key" -set_serial "0x$(openssl rand -hex 15)" \
      -days "$PKI_DAYS" -out "$dir/$name.crt.new" -extfile <(
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=clientAuth${names:+,serverAuth}"
        [[ -z $names ]] || echo "subjectAltName=$names"
      ) 2>/dev/null || die "openssl could not sign $dir/$name.crt"
  mv "$dir/$name.crt.new" "$dir/$name.crt"
}

# pki_service_account_key DIR: the key pair that signs service account tokens.
pki_service_account_key() {
  [[ -s $1/sa.pub ]] && return
  (umask 077 && openssl genrsa -out "$1/sa.key" 2048 2>/dev/null)
  openssl rsa -in "$1/sa.key" -pubout -out "$1/sa.pub.new" 2>/dev/null
  mv "$1/sa.pub.new" "$1/sa.pub"
}

# pki_kubeconfig FILE SERVER DIR NAME: for the client certificate NAME; keys are inside the file, so
# that it can be copied.
pki_kubeconfig() {
  local file=$1 server=$2 dir=$3 name=$4
  (
    umask 077
    write_if_changed "$file" <<EOF
apiVersion: v1
kind: Config
current-context: $CONTEXT_NAME
clusters:
  - name: $CONTEXT_NAME
    cluster:
      server: $server
      certificate-authority-data: $(base64 -w0 "$dir/ca.crt")
users:
  - name: $CONTEXT_NAME-$name
    user:
      client-certificate-data: $(base64 -w0 "$dir/$name.crt")
      client-key-data: $(base64 -w0 "$dir/$name.key")
contexts:
  - name: $CONTEXT_NAME
    context:
      cluster: $CONTEXT_NAME
      user: $CONTEXT_NAME-$name
EOF
  )
}
