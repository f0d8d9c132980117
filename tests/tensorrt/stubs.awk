# Reads preprocessed TensorRT headers; writes one class per class of pure virtual functions that
# overrides all of them with an abort that names the function. The stand-in overrides again what
# it has.
BEGIN { RS = ";" }
{
    gsub(/[ \t\r\n]+/, " ")
    text = $0
    while (match(text, /(enum )?(class|struct) [A-Za-z_0-9]+[^{};()<>]*\{/)) {
        head = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (head !~ /^enum/) {
            split(head, words, " ")
            class = words[2]
        }
    }
    if ($0 !~ /virtual .*\) ?(const ?)?(noexcept ?)?= ?0 ?$/) next
    wanted = class ~ /^V[A-Z]/ || class == "IParser"
    if (!wanted) next
    method = $0
    sub(/^.*virtual /, "", method)
    sub(/ ?= ?0 ?$/, "", method)
    match(method, /[A-Za-z_0-9]+ ?\(/)
    name = substr(method, RSTART, RLENGTH - 1)
    body[class] = body[class] "    " method " override { missing(\"" class "::" name "\"); }\n"
    if (!(class in seen)) { seen[class] = ++count; order[count] = class }
}
END {
    for (i = 1; i <= count; ++i) {
        class = order[i]
        space = class == "IParser" ? "nvonnxparser" : "nvinfer1::apiv"
        print "namespace " space " {\nclass Stub" class " : public " class " {\npublic:"
        printf "%s", body[class]
        print "};\n}"
    }
}
