#!/bin/sh
# nginx on port $PORT, with a configuration of its own: it takes no port on its
# command line. It sends its answers in pieces of 4 KiB, with 10 ms between them, so
# that some are in flight whenever it is told to end.
set -eu
PATH=$PATH:/usr/sbin # where Debian has it
dir=$(mktemp -d)
mkdir "$dir/root"
head -c 30000 /dev/zero | tr '\0' x >"$dir/root/index.html"
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
        location / { root $dir/root; sendfile off; output_buffers 1 4k; limit_rate 400k; }
    }
}
CONF
exec nginx -c "$dir/nginx.conf"
