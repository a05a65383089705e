#!/usr/bin/env bash
# Makes a CA and a serving certificate for the webhook with openssl:
#
#   certs/openssl.sh [--namespace NAME] [--service NAME] [--dns-name NAME]… [--days DAYS] [--ca-days DAYS] [--client-ca] DIRECTORY
#
# It writes ca.crt, ca.key, tls.crt and tls.key into DIRECTORY, and with --client-ca also client-ca.crt, client-ca.key, client.crt and
# client.key: a second CA, and a certificate with which an API server identifies itself to the webhook. Then it prints the flags of
# `spark-webhook serve`, the values of the chart, and the caBundle. If one of the files exists, it writes nothing.
#
#   --namespace NAME   namespace of the Service (spark-webhook)
#   --service NAME     name of the Service (spark-webhook)
#   --dns-name NAME    a further DNS name or IP address, such as localhost or 127.0.0.1; may be given more than once
#   --days DAYS        lifetime of the certificates (90)
#   --ca-days DAYS     lifetime of the CAs (3650)
#   --client-ca        also make a client CA and a client certificate
set -euo pipefail

usage() { awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "${BASH_SOURCE[0]}"; }
fail() { echo "openssl.sh: $*" >&2; exit 2; }

namespace=spark-webhook service=spark-webhook more=() days=90 ca_days=3650 client_ca= directory=
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit ;;
    --client-ca) client_ca=yes; shift; continue ;;
    --namespace | --service | --dns-name | --days | --ca-days) [ $# -gt 1 ] || fail "$1 needs a value" ;;
    -*) fail "unknown option $1; see --help" ;;
    *) [ -z "$directory" ] || fail "more than one directory: $directory and $1"; directory=$1; shift; continue ;;
  esac
  case "$1" in
    --namespace) namespace=$2 ;;
    --service) service=$2 ;;
    --dns-name) more+=("$2") ;;
    --days) days=$2 ;;
    --ca-days) ca_days=$2 ;;
  esac
  shift 2
done
[ -n "$directory" ] || fail 'the directory is missing; see --help'
command -v openssl >/dev/null || fail 'openssl is missing; install it'
# The name that the API server verifies comes first.
dns_names=("$service.$namespace.svc" "$service" "$service.$namespace" "$service.$namespace.svc.cluster.local")
names=
for name in "${dns_names[@]}" "${more[@]}"; do
  [[ $name =~ ^(\*\.)?[A-Za-z0-9.:-]+$ ]] || fail "$name is no DNS name and no IP address"
  if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then names+=,IP:$name; else names+=,DNS:$name; fi
done
names=${names#,}
for number in "$days" "$ca_days"; do
  [[ $number =~ ^[1-9][0-9]{0,4}$ ]] || fail "$number is no number of days from 1 to 99999"
done
files=(ca.crt ca.key tls.crt tls.key)
[ -z "$client_ca" ] || files+=(client-ca.crt client-ca.key client.crt client.key)
for file in "${files[@]}"; do
  [ ! -e "$directory/$file" ] || fail "$directory/$file exists; remove it or name another directory"
done

# A failure leaves nothing behind, and nobody else can read the keys.
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run() { openssl "$@" 2>"$work/error" || { cat "$work/error" >&2; fail "openssl $1 failed"; }; }
new_key() { run genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$1.key"; }
# `req` reads the extensions from a file, so that those of the machine's openssl.cnf do not come on top.
config() { # EXTENSION…
  printf '[req]\ndistinguished_name = dn\nx509_extensions = ext\nreq_extensions = ext\n[dn]\n[ext]\n' >"$work/config"
  printf '%s\n' "$@" >>"$work/config"
}
authority() { # FILE NAME
  new_key "$1"
  config 'basicConstraints = critical,CA:true' 'keyUsage = critical,keyCertSign,cRLSign' 'subjectKeyIdentifier = hash'
  run req -x509 -new -config "$work/config" -key "$work/$1.key" -sha256 -days "$ca_days" -subj "/CN=$2" -out "$work/$1.crt"
}
leaf() { # FILE NAME AUTHORITY USAGE [ALTERNATIVE-NAMES]
  new_key "$1"
  config 'basicConstraints = critical,CA:false' 'keyUsage = critical,digitalSignature' "extendedKeyUsage = $4" \
    ${5:+"subjectAltName = $5"}
  run req -new -config "$work/config" -key "$work/$1.key" -subj "/CN=$2" -out "$work/$1.csr"
  run x509 -req -in "$work/$1.csr" -CA "$work/$3.crt" -CAkey "$work/$3.key" -set_serial "0x$(openssl rand -hex 16)" -sha256 \
    -days "$days" -extfile "$work/config" -extensions ext -out "$work/$1.crt"
}

authority ca "spark-webhook CA"
# A common name has at most 64 characters, and nobody reads it: the names that count are the alternative ones.
leaf tls spark-webhook ca serverAuth "$names"
if [ -n "$client_ca" ]; then
  authority client-ca "spark-webhook client CA"
  leaf client kube-apiserver client-ca clientAuth
fi
mkdir -p "$directory"
for file in "${files[@]}"; do
  # Another run may have been faster.
  (set -o noclobber; cat "$work/$file" >"$directory/$file") || fail "$directory/$file cannot be written"
done

cat <<END
Flags of spark-webhook serve, with this certificate:
  --tls-cert $directory/tls.crt --tls-key $directory/tls.key
or with one that each replica signs by the CA:
  --ca-cert $directory/ca.crt --ca-key $directory/ca.key$(printf ' --dns-name %s' "${dns_names[@]}" "${more[@]}")

Values of the chart, with this certificate:
  kubectl --namespace $namespace create secret generic $service-tls --type kubernetes.io/tls \\
    --from-file tls.crt=$directory/tls.crt --from-file tls.key=$directory/tls.key --from-file ca.crt=$directory/ca.crt
  helm … --set certificates.mode=existingSecret --set certificates.existingSecret=$service-tls \\
    --set-file certificates.caBundle=$directory/ca.crt
or with the CA:
  kubectl --namespace $namespace create secret tls $service-ca --cert $directory/ca.crt --key $directory/ca.key
  helm … --set certificates.mode=ca --set certificates.existingSecret=$service-ca --set-file certificates.caBundle=$directory/ca.crt
END
[ -z "$client_ca" ] || cat <<END

To serve only clients with a certificate of the client CA, add the flag
  --client-ca $directory/client-ca.crt
or in the chart
  kubectl --namespace $namespace create configmap $service-client-ca --from-file ca.crt=$directory/client-ca.crt
  helm … --set clientCA.configMap=$service-client-ca
The API servers show $directory/client.crt with $directory/client.key, from the kubeConfigFile of their AdmissionConfiguration.
END
cat <<END

caBundle of the MutatingWebhookConfiguration:
$(base64 <"$directory/ca.crt" | tr -d '\n')
END
