import { rmSync } from 'node:fs';
import { build } from 'esbuild';

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

// File names contain a digest of the content, so files of an older build would stay.
rmSync('dist', { recursive: true, force: true });

/** `npm run build` bundles cambist and its packages into some fifty files. A start reads 24. See deploy/image.md. */
await build({
  entryPoints: ['src/main.ts'],
  outdir: 'dist',
  bundle: true,
  // Dynamic imports stay in files of their own: other commands, OpenTelemetry, signing keys.
  splitting: true,
  // Fastify needs these only for routes with a schema and for `inject`. cambist uses neither: see src/listeners/no-schemas.ts.
  external: ['@fastify/ajv-compiler', '@fastify/fast-json-stringify-compiler', 'light-my-request'],
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  // CommonJS packages load Node's modules by this name.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
  // V8 keeps the source text in memory, so whitespace goes. Names stay and lines are short, for readable stack traces.
  minifyWhitespace: true,
  lineLimit: 120,
  // For `node --enable-source-maps`, and for tests of the content. Node reads source maps only with that flag.
  sourcemap: true,
  sourcesContent: false,
  legalComments: 'external',
  plugins: [parserAsOne],
  logLevel: 'warning',
});
