import { rmSync } from 'node:fs';
import { build } from 'esbuild';

/**
 * A default import of CommonJS gets a getter for each property of what is exported. That of undici's parser is a Buffer of
 * 50,000 bytes: 20 MiB of getters. What is required is taken as it is.
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

// Names of files bear a digest of what is in them: those of an older build would stay.
rmSync('dist', { recursive: true, force: true });

/** `npm run build`: cambist and its packages in some fifty files, of which a start reads 24. See deploy/image.md. */
await build({
  entryPoints: ['src/main.ts'],
  outdir: 'dist',
  bundle: true,
  // What is imported when it is asked for stays apart: other commands, OpenTelemetry, keys that sign.
  splitting: true,
  // Fastify asks for them where a route has a schema or is called by `inject`, and none is: see src/listeners/no-schemas.ts.
  external: ['@fastify/ajv-compiler', '@fastify/fast-json-stringify-compiler', 'light-my-request'],
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  // Packages that are CommonJS ask for Node's modules by this name.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
  // V8 keeps the text of what it has loaded. Names stay, and lines are short, so that a stack trace can be read.
  minifyWhitespace: true,
  lineLimit: 120,
  // For `node --enable-source-maps`, and for tests that ask what is in a file. Without the flag Node does not read them.
  sourcemap: true,
  sourcesContent: false,
  legalComments: 'external',
  plugins: [parserAsOne],
  logLevel: 'warning',
});
