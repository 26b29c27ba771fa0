interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  llhttp_alloc(type: number): number;
  llhttp_free(parser: number): void;
}

/** Counts parsers from now on, in a process that has created none yet. */
export function countParsers() {
  const { Instance } = WebAssembly;
  const inUse = new Set<number>();
  let memory: Exports['memory'] | undefined;

  class CountedInstance {
    readonly exports: Exports;
    constructor(...given: ConstructorParameters<typeof Instance>) {
      const exports = new Instance(...given).exports as unknown as Exports;
      memory = exports.memory;
      this.exports = {
        ...exports,
        llhttp_alloc(type) {
          const parser = exports.llhttp_alloc(type);
          inUse.add(parser);
          return parser;
        },
        llhttp_free(parser) {
          if (!inUse.delete(parser)) throw new Error('a parser was freed twice, or never allocated');
          exports.llhttp_free(parser);
        },
      };
    }
  }
  Object.assign(WebAssembly, { Instance: CountedInstance });
  return { inUse: () => inUse.size, memoryBytes: () => memory?.buffer.byteLength ?? 0 };
}
