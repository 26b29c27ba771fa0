import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../harness/http-server.ts';
import { has, startPinned } from '../processes.ts';
import { accepts, type Peer, running, type Setup, until } from './peer.ts';

/** As cambist and Node have them. Versions of nginx before 1.23.4 have no TLS 1.3 by default. */
const PROTOCOLS = 'TLSv1.2 TLSv1.3';
/** The cipher that cambist prefers for its callers. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256';

/** One worker, keep-alive to the upstream, no buffering, no log: the minimum for this work. */
export const nginx: Peer = {
  name: 'nginx',
  missing: () => (has('nginx') ? undefined : 'not installed (apt-get install nginx-light)'),
  async start(setup) {
    const { directory } = setup;
    const port = await freePort();
    const config = join(directory, 'nginx.conf');
    writeFileSync(config, configFor(setup, port));
    const startedMs = performance.now();
    const args = ['-p', directory, '-c', config, '-e', 'stderr'];
    const child = startPinned('proxy', 'nginx', args, { stdio: ['ignore', 'ignore', 'inherit'] });
    await until(child, () => accepts(port));
    const tls = setup.intercepted ?? setup.listenTls;
    const callerCa = tls && { callerCa: readFileSync(tls.caFile, 'utf8') };
    return { ...running(child, port, performance.now() - startedMs), ...callerCa };
  },
};

function configFor({ origin, caFile, directory, intercepted, listenTls }: Setup, port: number): string {
  const { protocol, host } = new URL(origin);
  const verify =
    caFile === undefined
      ? ''
      : `proxy_ssl_protocols ${PROTOCOLS}; proxy_ssl_verify on; proxy_ssl_trusted_certificate ${caFile};`;
  const tls = intercepted ?? listenTls;
  const clients = listenTls?.isMutual ? `ssl_client_certificate ${listenTls.caFile}; ssl_verify_client on;` : '';
  const terminate =
    tls &&
    `ssl_protocols ${PROTOCOLS}; ssl_prefer_server_ciphers on; ssl_conf_command Ciphersuites ${CIPHERS}; ssl_session_tickets off; ssl_certificate ${tls.certFile}; ssl_certificate_key ${tls.keyFile}; ${clients}`;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${join(directory, kind)};`,
  );
  return `daemon off; worker_processes 1; pid ${join(directory, 'nginx.pid')}; error_log stderr;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 100000000; ${temporary.join(' ')}
  upstream backend { server ${host}; keepalive 2048; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port} ${tls === undefined ? '' : 'ssl '}backlog=1024; ${terminate ?? ''}
    location / {
      proxy_pass ${protocol}//backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host ${host};
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 1h; proxy_ssl_name localhost; ${verify}
    }
  }
}
`;
}
