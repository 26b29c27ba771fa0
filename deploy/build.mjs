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
 * Imports undici's parser with `require`. A default import of CommonJS adds a getter for each exported property, and the parser
 * exports a Buffer of 50,000 bytes: 20 MiB of getters.
 */
const parserAsOne = {
  name: 'parser-as-one',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^undici\/lib\/llhttp\// }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'required' } : undefined,
    );
    onLoad({ filter: /./, namespace: 'required' }, ({ path }) => ({
      contents: `export default require('${path}');`,
      resolveDir: import.meta.dirname,
    }));
  },
};

/** The parts of undici that src imports. */
const UNDICI_PARTS = {
  Dispatcher: 'dispatcher/dispatcher.js',
  buildConnector: 'core/connect.js',
  errors: 'core/errors.js',
};

/**
 * Replaces undici's index by these parts. The index also loads clients, `fetch` and cookies, and its cookies touch the global
 * `Headers`, for which Node loads its own undici. esbuild reports a name that src imports and the parts lack. @fastify/reply-from
 * uses undici only if it forwards, which src/proxy/fastify-plugin.ts prevents. test/e2e/start.test.ts compares the parts with the index.
 */
const undiciInParts = {
  name: 'undici-in-parts',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^undici$/ }, ({ path }) => ({ path, namespace: 'parts' }));
    onLoad({ filter: /./, namespace: 'parts' }, () => ({
      contents: Object.entries(UNDICI_PARTS)
        .map(([name, file]) => `export { default as ${name} } from 'undici/lib/${file}';`)
        .join('\n'),
      resolveDir: import.meta.dirname,
    }));
  },
};

// A code cache of an older build would stay.
rmSync('dist', { recursive: true, force: true });

const common = {
  outdir: 'dist',
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
 * `npm run build` bundles cambist and its packages into one script, because finding and reading files is slow. A module that
 * is imported dynamically runs only then: other commands, OpenTelemetry, signing keys. See deploy/image.md.
 */
await build({
  ...common,
  entryPoints: { cambist: 'src/main.ts' },
  outExtension: { '.js': '.cjs' },
  // CommonJS, because only for scripts does Node take a code cache that fits another processor.
  format: 'cjs',
  define: { 'import.meta.url': 'bundleUrl' },
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
  // Fastify needs these only for routes with a schema and for `inject`. cambist uses neither: see src/listeners/no-schemas.ts.
  external: ['@fastify/ajv-compiler', '@fastify/fast-json-stringify-compiler', 'light-my-request'],
  plugins: [parserAsOne, undiciInParts],
});

/** The few lines that load the bundle. */
await build({
  ...common,
  entryPoints: { main: 'src/launch.ts', program: 'src/program.ts' },
  splitting: true,
  format: 'esm',
});
