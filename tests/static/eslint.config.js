import js from "@eslint/js";
import globals from "globals";

const rules = {
  ...js.configs.recommended.rules,
  "consistent-return": "error",
  "default-case-last": "error",
  eqeqeq: "error",
  "no-control-regex": "off", // terminal output is what is parsed
  "no-eval": "error",
  "no-implied-eval": "error",
  "no-new-func": "error",
  "no-script-url": "error",
  "no-shadow": "error",
  "no-throw-literal": "error",
  "no-var": "error",
  "no-unused-expressions": ["error", { allowShortCircuit: true, allowTernary: true }],
  "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
  "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
  "object-shorthand": "error",
  "prefer-const": ["error", { destructuring: "all" }],
  // Text from builds is never markup.
  "no-restricted-properties": [
    "error",
    { property: "innerHTML", message: "use textContent, or parse with DOMParser" },
    { property: "insertAdjacentHTML", message: "use textContent, or parse with DOMParser" },
  ],
};

export default [
  {
    files: ["static/**/*.js"],
    languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: { ...globals.browser, SwaggerUIBundle: "readonly" } },
    rules,
  },
  {
    files: ["tests/static/**/*.js"],
    languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: globals.node },
    rules,
  },
  { ignores: ["**/node_modules/", "var/", ".venv*/"] },
];
