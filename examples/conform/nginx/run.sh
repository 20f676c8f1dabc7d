#!/bin/sh
# nginx on port $PORT, with a configuration of its own: it takes no port on its
# command line. Its answers are a little longer than what it may send at once, so
# they take some milliseconds, and one is in flight whenever it is told to end.
set -eu
PATH=$PATH:/usr/sbin # where Debian has it
dir=$(mktemp -d)
mkdir "$dir/root"
head -c 10600 /dev/zero | tr '\0' x >"$dir/root/index.html"
cat >"$dir/nginx.conf" <<CONF
pid $dir/nginx.pid;
error_log stderr warn;
user $(id -un); # the folder is nobody else's
worker_processes 1;
daemon off;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
    server {
        listen 127.0.0.1:$PORT;
        location / { root $dir/root; limit_rate 10k; }
    }
}
CONF
exec nginx -c "$dir/nginx.conf"
