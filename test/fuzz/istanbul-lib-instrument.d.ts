declare module 'istanbul-lib-instrument' {
  export function createInstrumenter(options: { esModules: boolean; coverageVariable: string }): {
    instrumentSync(code: string, file: string): string;
  };
}
