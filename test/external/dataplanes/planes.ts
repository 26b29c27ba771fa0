import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { snippetFacts } from '../../../src/decisions/snippet-facts.ts';
import { SNIPPETS } from '../../../src/decisions/snippets.ts';
import { configOf, type WrittenConfig } from '../../harness/app.ts';
import { DECISION_SECRET } from '../../harness/gateway.ts';
import { findProgram } from '../find-program.ts';
import { installCaddy, installEnvoy, installTraefik } from '../installs.ts';
import { type By, type DataPlane, filesOf } from './data-plane.ts';

const HAPROXY = fileURLToPath(new URL('../../../node_modules/.haproxy', import.meta.url));

/** The config of a data plane as `cambist snippet` prints it, or as config/decisions.md changes it for ext_authz over gRPC. */
export function printedConfig(plane: DataPlane, config: WrittenConfig, by: By = 'http'): string {
  const found = snippetFacts(configOf(config), plane.kind);
  if ('problem' in found) throw new Error(found.problem);
  const printed = SNIPPETS[plane.kind]({ ...found.facts, isGrpc: by === 'ext_proc' });
  if (by !== 'ext_authz') return printed;
  const cluster = '- name: cambist_decisions\n';
  const http2 = `${cluster}      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
`;
  return printed
    .replace(...((printed.includes('{ http_p') ? ['{ http_p', '{ http2_p'] : [cluster, http2]) as [string, string]))
    .replace(
      /^( *)http_service:\n *path_prefix: \/(?:no-route|ext-authz)\n.*\n.*\n.*\n/m,
      '$1transport_api_version: V3\n$1grpc_service: { envoy_grpc: { cluster_name: cambist_decisions }, timeout: 6s }\n$1encode_raw_headers: true\n',
    )
    .replace(
      /^( *)http_service:\n *path_prefix: \/ext-authz\/(\w+)\n.*\n.*\n.*\n/gm,
      '$1context_extensions: { route: $2 }\n',
    );
}

export const caddy: DataPlane = {
  kind: 'caddy',
  asksSockets: true,
  downStatus: 503,
  async prepare({ text, folder, port }) {
    const file = join(folder, 'Caddyfile');
    const config = text
      .replace('{\n', '{\n\tadmin off\n\tpersist_config off\n')
      .replace('\n:8080 {', `\n:${port} {\n\tbind 127.0.0.1\n`);
    await writeFile(file, config);
    return [await installCaddy(), 'run', '--adapter', 'caddyfile', '--config', file];
  },
};

export const haproxy: DataPlane = {
  kind: 'haproxy',
  asksSockets: true,
  downStatus: 503,
  async prepare({ text, folder, port }) {
    const { 'haproxy.cfg': config = '', 'cambist.lua': lua = '' } = filesOf(text);
    await writeFile(join(folder, 'cambist.lua'), lua);
    await writeFile(
      join(folder, 'haproxy.cfg'),
      config
        .replace('/etc/haproxy/cambist.lua', join(folder, 'cambist.lua'))
        .replace('bind :8080', `bind 127.0.0.1:${port}`),
    );
    const program = findProgram('haproxy', join(HAPROXY, 'usr/sbin')) ?? 'haproxy';
    return ['env', `LD_LIBRARY_PATH=${HAPROXY}/lib`, program, '-db', '-f', join(folder, 'haproxy.cfg')];
  },
};

export const nginx: DataPlane = {
  kind: 'nginx',
  asksSockets: true,
  downStatus: 503,
  bodyLimit: 16 * 2 ** 20,
  async prepare({ text, folder, port }) {
    const secretFile = join(folder, 'secret.conf');
    await writeFile(secretFile, `proxy_set_header X-Cambist-Decision-Secret "${DECISION_SECRET}";\n`);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `  ${name}_temp_path ${folder}/${name};\n`)
      .join('');
    const config = text
      .replaceAll('listen 8080', `listen 127.0.0.1:${port}`)
      .replace('/etc/nginx/cambist-secret.conf', secretFile)
      .replace('http {\n', `http {\n  access_log off;\n${temporary}`);
    await writeFile(join(folder, 'nginx.conf'), config);
    const main = `daemon off; master_process off; pid ${folder}/pid;`;
    return ['nginx', '-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr', '-g', main];
  },
};

export const traefik: DataPlane = {
  kind: 'traefik',
  asksSockets: false,
  // Traefik takes no other status for a fault of the service that it asks.
  downStatus: 500,
  async prepare({ text, folder, port }) {
    const { 'traefik.yaml': main = '', 'cambist.yaml': dynamic = '' } = filesOf(text);
    const file = join(folder, 'cambist.yaml');
    await writeFile(file, dynamic);
    await writeFile(
      join(folder, 'traefik.yaml'),
      main.replace(':8080', `127.0.0.1:${port}`).replace('/etc/traefik/cambist.yaml', file),
    );
    const program = await installTraefik();
    return [
      'env',
      `CAMBIST_DECISION_SECRET=${DECISION_SECRET}`,
      program,
      `--configFile=${join(folder, 'traefik.yaml')}`,
    ];
  },
};

export const envoy: DataPlane = {
  kind: 'envoy',
  asksSockets: true,
  downStatus: 503,
  async prepare({ text, folder, port }) {
    const file = join(folder, 'envoy.yaml');
    await writeFile(
      file,
      text
        .replace('address: 0.0.0.0, port_value: 8080', `address: 127.0.0.1, port_value: ${port}`)
        .replaceAll('/etc/envoy/', `${folder}/`),
    );
    const options = ['--log-level', 'warning', '--disable-hot-restart', '--concurrency', '1'];
    return [await installEnvoy(), '--config-path', file, ...options];
  },
};
