declare module 'undici/lib/llhttp/llhttp_simd-wasm.js' {
  const wasm: Uint8Array;
  export = wasm;
}

/** The part of WebAssembly that is used here. TypeScript declares it only for browsers, although every engine has it. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array);
    static exports(module: Module): { readonly name: string; readonly kind: string }[];
    static imports(module: Module): { readonly module: string; readonly name: string }[];
  }
  class Instance {
    constructor(module: Module, imports: { readonly env: Record<string, (...values: number[]) => number> });
    readonly exports: Record<string, unknown>;
  }
}
