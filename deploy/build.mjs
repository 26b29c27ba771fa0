import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const BUILT = 'dist/main.js';

/** `--if-changed`: builds only if a source is newer. Two suites can then run at the same time. */
if (process.argv.includes('--if-changed') && isBuilt()) process.exit();

function isBuilt() {
  const builtMs = statSync(BUILT, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync('src', { recursive: true }).map((name) => join('src', name));
  // The folders tell of removed files.
  return ['src', ...sources, 'deploy/build.mjs', 'package-lock.json'].every((path) => statSync(path).mtimeMs < builtMs);
}

/**
 * Replaces modules. A replacement may import the module that it stands for. Its relative imports are files in `dist`.
 * @param replacementOf returns the replacement of an import, and undefined for other imports
 */
function replacing(name, filter, replacementOf) {
  return {
    name,
    setup({ onResolve, onLoad }) {
      onResolve({ filter }, (args) => {
        const contents = args.namespace === name ? undefined : replacementOf(args);
        return contents && { path: nameOf(args), namespace: name, pluginData: contents };
      });
      onResolve({ filter: /^\.\//, namespace: name }, ({ path }) => ({ path, external: true }));
      onLoad({ filter: /./, namespace: name }, ({ pluginData }) => ({
        contents: pluginData,
        resolveDir: import.meta.dirname,
      }));
    },
  };
}

/** @returns for example `undici`, or `pino/lib/caller` for a file within a package */
function nameOf({ path, resolveDir }) {
  if (!path.startsWith('.')) return path;
  const file = join(resolveDir, path);
  return file.slice(file.lastIndexOf('/node_modules/') + '/node_modules/'.length).replace(/\.js$/, '');
}

/**
 * Imports undici's parser with `require`. A default import of CommonJS adds a getter for each exported property, and the parser
 * exports a Buffer of 50,000 bytes. test/bench/start-and-memory.md has the cost of this, and of all that follows.
 */
const parserAsOne = replacing('required', /^undici\/lib\/llhttp\//, ({ path, kind }) =>
  kind === 'import-statement' ? `export default require('${path}');` : undefined,
);

/** The parts of undici that src imports. */
const UNDICI_PARTS = {
  Dispatcher: 'dispatcher/dispatcher.js',
  buildConnector: 'core/connect.js',
  errors: 'core/errors.js',
};

/**
 * Replaces undici's index by these parts. The index also loads clients, `fetch` and cookies, and its cookies touch the global
 * `Headers`, for which Node loads its own undici. esbuild reports a name that src imports and the parts lack.
 * test/e2e/start.test.ts compares the parts with the index.
 */
const undiciInParts = replacing('parts', /^undici$/, () =>
  Object.entries(UNDICI_PARTS)
    .map(([name, file]) => `export { default as ${name} } from 'undici/lib/${file}';`)
    .join('\n'),
);

/**
 * Parts of packages that each start would load, each with its replacement. cambist calls only that of semver. A forgotten call fails.
 */
const UNUSED_PARTS = {
  // Forwards requests for @fastify/http-proxy. Here, src/proxy/pipeline.ts does.
  // Has a name, because fastify-plugin would look for one in a stack trace.
  '@fastify/reply-from': `
    async function from(app) {
      app.decorateReply('from', () => {
        throw new Error('@fastify/reply-from is not part of the build');
      });
    }
    module.exports = require('fastify-plugin')(from, { name: '@fastify/reply-from' });`,
  // The WebSockets of @fastify/http-proxy. Here, src/proxy/upgrade.ts forwards them.
  ws: 'module.exports = {};',
  // Finds the file that creates a logger, for logs in worker threads. V8 would count the lines of the whole bundle for it.
  'pino/lib/caller': 'module.exports = () => {};',
  // Logs in worker threads.
  'pino/lib/transport': 'module.exports = {};',
  // Only pino imports it under this name, without `node:`. Where it thought itself in a worker, it would lose lines at exit.
  worker_threads: 'module.exports = { isMainThread: true };',
  'prom-client/lib/cluster': 'module.exports = {};',
  'prom-client/lib/pushgateway': 'module.exports = {};',
  'prom-client/lib/summary': 'module.exports = {};',
  // Fastify asks it whether each plugin fits, which a build cannot change. Tests from source ask the real one.
  semver: 'module.exports = { satisfies: () => true };',
  // prom-client asks it for exemplars, which are off. src takes it from its own script.
  '@opentelemetry/api': 'module.exports = {};',
};

const withoutUnusedParts = replacing('unused', /./, (args) =>
  Object.hasOwn(UNUSED_PARTS, nameOf(args)) ? UNUSED_PARTS[nameOf(args)] : undefined,
);

/** Modules of Node that Fastify loads and calls only for listeners with TLS or HTTP/2: the webhook's. */
const CALLED_LATE = { 'node:https': ['createServer'], 'node:http2': ['createServer', 'createSecureServer'] };

const fastifyTlsLate = replacing('late', /^node:https?2?$/, ({ path, importer }) => {
  if (!(path in CALLED_LATE) || !importer.endsWith('/fastify/lib/server.js')) return undefined;
  const functions = CALLED_LATE[path].map((name) => `${name}: (...args) => require('${path}').${name}(...args),`);
  return `module.exports = {${functions.join('')}};`;
});

/** Packages that most starts do not need. Each script is read when one of its packages is first imported. */
const SCRIPTS_APART = {
  // Makes certificates: with `intercept`, and for `cambist gen-certs`.
  asn1: ['@peculiar/asn1-schema', '@peculiar/asn1-x509', 'asn1js'],
  grpc: ['@grpc/grpc-js'],
  redis: ['@redis/client'],
  opentelemetry: [
    '@opentelemetry/api',
    '@opentelemetry/core',
    '@opentelemetry/exporter-logs-otlp-proto',
    '@opentelemetry/exporter-trace-otlp-proto',
    '@opentelemetry/resources',
    '@opentelemetry/sdk-trace-base',
  ],
};

/** Imports of src take these packages from their script. */
const packagesApart = replacing('apart', /^[^.]/, ({ path, importer }) => {
  const [script] = Object.entries(SCRIPTS_APART).find(([, names]) => names.includes(path)) ?? [];
  if (script === undefined || importer.includes('/node_modules/')) return undefined;
  return `module.exports = require('./${script}.cjs')['${path}'];`;
});

// A code cache of an older build would stay.
rmSync('dist', { recursive: true, force: true });

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  // V8 keeps the source text in memory, so whitespace goes. Names stay and lines are short, for readable stack traces.
  minifyWhitespace: true,
  lineLimit: 120,
  // For `node --enable-source-maps`, and for tests of the content. Node reads source maps only with that flag.
  sourcemap: true,
  sourcesContent: false,
  legalComments: 'external',
  logLevel: 'warning',
};

/**
 * Makes the script a function, as Node does with a CommonJS module. Node calls it; src/program.ts gets it as the script's result.
 * To put this around the text at each start would keep two copies in memory.
 * Without the parentheses around the function, V8 reads its text twice where it has no code cache.
 */
const PARAMETERS = 'exports, require, module, __filename, __dirname';
const MODULE_BEGINS = `((run) => (typeof module === 'object' ? run(${PARAMETERS}) : run))((function (${PARAMETERS}) {`;
const MODULE_ENDS = '}))';

/**
 * `npm run build` bundles cambist and its packages into one script, because finding and reading files is slow. A module that
 * is imported dynamically runs only then: other commands, signing keys. See deploy/image.md.
 */
await build({
  ...common,
  outdir: 'dist',
  entryPoints: { cambist: 'src/main.ts' },
  outExtension: { '.js': '.cjs' },
  // CommonJS, because only for scripts does Node take a code cache that fits another processor.
  format: 'cjs',
  define: { 'import.meta.url': 'bundleUrl' },
  banner: { js: `${MODULE_BEGINS}const bundleUrl = require('node:url').pathToFileURL(__filename).href;` },
  footer: { js: MODULE_ENDS },
  // Fastify needs these only for routes with a schema and for `inject`. cambist uses neither: see src/listeners/listen.ts.
  external: ['@fastify/ajv-compiler', '@fastify/fast-json-stringify-compiler', 'light-my-request'],
  plugins: [parserAsOne, undiciInParts, packagesApart, withoutUnusedParts, fastifyTlsLate],
});

for (const [script, names] of Object.entries(SCRIPTS_APART)) {
  const getters = names.map((name) => `get '${name}'() { return require('${name}'); },`);
  await build({
    ...common,
    stdin: {
      contents: `module.exports = {${getters.join('\n')}};`,
      resolveDir: import.meta.dirname,
      sourcefile: script,
    },
    outfile: `dist/${script}.cjs`,
    format: 'cjs',
    // gRPC needs it only for services of its own, which cambist does not offer.
    external: ['@grpc/proto-loader'],
  });
}

/** The few lines that load the bundle. */
await build({
  ...common,
  outdir: 'dist',
  entryPoints: { main: 'src/launch.ts', program: 'src/program.ts' },
  splitting: true,
  format: 'esm',
});
