(function () {
  'use strict';
  var root = document.getElementById('eh-form');
  if (!root) { return; }
  function each(selector, within, f) {
    Array.prototype.forEach.call(within.querySelectorAll(selector), f);
  }
  function short(n, digits) {
    var s = n.toFixed(digits);
    return s.indexOf('.') < 0 ? s : s.replace(/0+$/, '').replace(/\.$/, '');
  }
  // As the language's grammar has it; the plural's name is CLDR's.
  var rules;
  try { rules = new Intl.PluralRules(root.lang); } catch (e) { rules = { select: function () { return 'other'; } }; }
  var fields = {};
  each('[data-eh-number]', root, function (box) {
    var number = box.querySelector('input[type=number]');
    var range = box.querySelector('input[type=range]');
    var live = box.querySelector('output');
    var d = box.dataset;
    var amounts = JSON.parse(d.amounts);
    var last = range ? Number(range.max) : 0;
    function local(s) { return s.replace('.', d.decimal); }
    function say() {
      var limit = Number(number.value);
      var good = number.value !== '' && isFinite(limit) && limit >= Number(d.lowest) && limit <= Number(d.highest);
      var request = Math.min(Math.round(Math.round(limit * 1000) * Number(d.ratio) / 10) / 100, limit);
      live.textContent = !good ? '' : d.live
        .replace('{value}', local(number.value)).replace('{request}', local(short(request, 2)));
      if (range) {
        range.setAttribute('aria-valuetext',
          (amounts[rules.select(limit)] || amounts.other).replace('{n}', local(number.value)));
      }
    }
    function toRange() {
      if (!range) { return; }
      var v = Number(number.value);
      range.value = v >= Number(d.highest) ? last : Math.round((v - Number(d.lowest)) / Number(d.step));
    }
    if (range) {
      range.addEventListener('input', function () {
        var i = Number(range.value);
        number.value = i === last ? d.highest : short(Number(d.lowest) + i * Number(d.step), Number(d.digits));
        say();
        match();
      });
    }
    number.addEventListener('input', function () { toRange(); say(); match(); });
    fields[d.ehNumber] = {
      get: function () { return number.value; },
      set: function (v) { number.value = v; toRange(); say(); }
    };
    toRange();
  });
  var presets = root.querySelectorAll('input[name=preset]');
  // What is sent is what is seen: numbers that are no preset's are one's own.
  function match() {
    var own, found;
    Array.prototype.forEach.call(presets, function (p) {
      if (p.hasAttribute('data-eh-own')) { own = p; return; }
      if (Number(fields.cpu.get()) === Number(p.dataset.cpu) && Number(fields.memory.get()) === Number(p.dataset.memory)) {
        found = found || p;
      }
    });
    if (found || own) { (found || own).checked = true; }
  }
  function apply(p) {
    if (!p.checked || p.hasAttribute('data-eh-own')) { return; }
    fields.cpu.set(p.dataset.cpu);
    fields.memory.set(p.dataset.memory);
  }
  Array.prototype.forEach.call(presets, function (p) {
    p.addEventListener('change', function () { apply(p); });
    apply(p);
  });
  root.classList.add('eh-scripted');
  each('[data-eh-js]', root, function (e) { e.hidden = false; });
  var faults = document.getElementById('eh-faults');
  if (faults) { faults.focus(); }
})();
