declare module 'undici/lib/llhttp/llhttp_simd-wasm.js' {
  const wasm: Uint8Array;
  export = wasm;
}

/** Of what every JavaScript engine has, the part that is used: TypeScript knows it of browsers alone. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: { readonly env: Record<string, (...values: number[]) => number> });
    readonly exports: Record<string, unknown>;
  }
}
