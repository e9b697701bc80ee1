"""What a policy puts into the Pods of servers is there, and does what it says."""

from cluster import kubectl, name_of, pods, read_file
from hub import until


def test_a_server_has_what_its_policy_puts_into_its_pod(admin):
    user = admin.person("shaped", "shaped")
    url = admin.start(user)
    assert read_file(url, "before") == f"{user} as {user}, whole\n", "the script before the start"
    (pod,) = pods(user)
    labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
    assert labels["team"] == "shaped" and labels["component"] == "singleuser-server"
    assert annotations["example.org/of"] == f"{user}/"
    assert kubectl("exec", name_of(pod), "--container", "beside", "--", "cat", "/scratch/seen") == "beside\n"
    mounted = {m["mountPath"]: m["name"] for m in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounted["/home/jovyan/scratch"] == "scratch"
    admin.stop(user)
    until(lambda: not pods(user), 60)
