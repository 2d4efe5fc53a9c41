package firstboot

// Harbor's two web servers: one before everything, and one for its pages.

// harborNginx is the proxy. Every place that core serves is there, and the rest
// are pages. A push is handed on as it comes: nothing is buffered or limited.
const harborNginx = `worker_processes auto;
pid /tmp/nginx.pid;

events {
  worker_connections 3096;
  use epoll;
  multi_accept on;
}

http {
  client_body_temp_path /tmp/client_body_temp;
  proxy_temp_path /tmp/proxy_temp;
  fastcgi_temp_path /tmp/fastcgi_temp;
  uwsgi_temp_path /tmp/uwsgi_temp;
  scgi_temp_path /tmp/scgi_temp;
  tcp_nodelay on;
  proxy_http_version 1.1;
  proxy_buffering off;
  proxy_request_buffering off;
  client_max_body_size 0;
  chunked_transfer_encoding on;

  upstream core { server core:%d; }
  upstream portal { server portal:%d; }

  log_format timed_combined '$remote_addr - "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent" $request_time $upstream_response_time $pipe';
  access_log /dev/stdout timed_combined;

  map $http_x_forwarded_proto $x_forwarded_proto {
    default $http_x_forwarded_proto;
    ""      $scheme;
  }
  proxy_set_header Host $http_host;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $x_forwarded_proto;

  server {
    listen %d ssl;
    server_tokens off;
    ssl_certificate /etc/cert/server.crt;
    ssl_certificate_key /etc/cert/server.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:SSL:10m;

    add_header Strict-Transport-Security "max-age=31536000; includeSubdomains; preload";
    add_header X-Frame-Options DENY;
    add_header Content-Security-Policy "frame-ancestors 'none'";

    location / {
      proxy_pass http://portal/;
      proxy_cookie_path / "/; HttpOnly; Secure";
    }
    location /c/ {
      proxy_pass http://core/c/;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $x_forwarded_proto;
      proxy_cookie_path / "/; Secure";
    }
    location /api/ {
      proxy_pass http://core/api/;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $x_forwarded_proto;
      proxy_cookie_path / "/; Secure";
    }
    location /v1/ { return 404; }
    location /v2/ {
      proxy_pass http://core/v2/;
      proxy_send_timeout 900;
      proxy_read_timeout 900;
    }
    location /service/ {
      proxy_pass http://core/service/;
      proxy_cookie_path / "/; Secure";
    }
    location /service/notifications { return 404; }
  }
}
`

// harborPortal serves the pages, which are files of its image.
const harborPortal = `worker_processes auto;
pid /tmp/nginx.pid;

events { worker_connections 1024; }

http {
  client_body_temp_path /tmp/client_body_temp;
  proxy_temp_path /tmp/proxy_temp;
  fastcgi_temp_path /tmp/fastcgi_temp;
  uwsgi_temp_path /tmp/uwsgi_temp;
  scgi_temp_path /tmp/scgi_temp;

  server {
    listen 127.0.0.1:%d;
    server_name localhost;
    root /usr/share/nginx/html;
    index index.html index.htm;
    include /etc/nginx/mime.types;

    gzip on;
    gzip_min_length 1000;
    gzip_proxied expired no-cache no-store private auth;
    gzip_types text/plain text/css application/json application/javascript application/x-javascript text/xml application/xml application/xml+rss text/javascript;

    location /devcenter-api-2.0 { try_files $uri $uri/ /swagger-ui-index.html; }
    location / { try_files $uri $uri/ /index.html; }
    location = /index.html { add_header Cache-Control "no-store, no-cache, must-revalidate"; }
  }
}
`
