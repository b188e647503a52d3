// Elements are found by selectors, which say nothing of their kind: their properties are not checked.
interface EventTarget {
  [property: string]: any;
}
interface Document {
  getElementById(id: string): any;
}
interface ParentNode {
  querySelector(selectors: string): any;
}
declare const SwaggerUIBundle: (options: object) => unknown;
