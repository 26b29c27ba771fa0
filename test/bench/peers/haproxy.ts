import { configuredPeer, type Setup } from './peer.ts';

/** One thread, shared upstream connections, no log. */
export const haproxy = configuredPeer('haproxy', 'haproxy', (config) => ['-db', '-q', '-f', config], configFor);

function configFor({ origin, caFile }: Setup, port: number): string {
  const { host } = new URL(origin);
  const tls = caFile === undefined ? '' : `ssl verify required ca-file ${caFile} verifyhost localhost`;
  return `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
frontend callers
  bind 127.0.0.1:${port}
  default_backend upstream
backend upstream
  http-request set-header Host ${host}
  server upstream ${host} ${tls}
`;
}
