#!/usr/bin/perl
# A factory of RPC::XML: polls until there is no job, converts with LibreOffice, uploads.
# Arguments: URL, CA, certificate, key, factory, working folder, and a file that is every job's result (none: convert).
use strict;
use warnings;
use MIME::Base64;
use RPC::XML;
use RPC::XML::Client;

my ($url, $ca, $certificate, $key, $factory, $folder, $fixed) = @ARGV;
my $client = RPC::XML::Client->new($url, useragent => [
    keep_alive => 1,
    ssl_opts => { verify_hostname => 1, SSL_ca_file => $ca, SSL_cert_file => $certificate, SSL_key_file => $key },
]);

sub call {
    my ($method, @strings) = @_;
    my $response = $client->send_request($method, map { RPC::XML::string->new($_) } @strings);
    die "$method: $response\n" unless ref $response;
    die "$method: " . $response->code . ' ' . $response->string . "\n" if $response->is_fault;
    return $response->value;
}

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "$path: $!\n";
    local $/;
    return encode_base64(<$file>);
}

sub convert {
    my ($job) = @_;
    return slurp($fixed) if defined $fixed;
    my $source = "$folder/$job->{filename}";
    open my $file, '>:raw', $source or die "$source: $!\n";
    print $file decode_base64($job->{document});
    close $file;
    system("soffice '-env:UserInstallation=file://$folder/profile' --headless --convert-to $job->{format}"
        . " --outdir '$folder' '$source' >/dev/null 2>&1") == 0 or die "soffice failed\n";
    (my $made = $source) =~ s/\.[^.]+$/.$job->{format}/;
    return slurp($made);
}

while (my %job = %{ call('jobs.poll', $factory) }) {
    my $document = convert(\%job);
    my $result = call('jobs.finish', $factory, $job{job}, $job{format}, $document);
    # The answer could have been lost: the same call again changes nothing.
    call('jobs.finish', $factory, $job{job}, $job{format}, $document) eq $result or die "another result\n";
    print "$job{job} $result\n";
}
